-- Script of wrk: POST the arguments as JSON, in turns; without arguments, GET.

function init(args)
  if not args[1] or args[1] == "" then
    return
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = args[1]
  if not args[2] then
    return
  end
  local requests, turn = {}, 0
  for number, body in ipairs(args) do
    requests[number] = wrk.format(nil, nil, nil, body)
  end
  function request()
    turn = turn % #requests + 1
    return requests[turn]
  end
end
