-- wrk's script: with an argument that is not empty, POST it as JSON; without, GET.

function init(args)
  if args[1] and args[1] ~= "" then
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = args[1]
  end
end
