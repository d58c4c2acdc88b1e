"""LitServe with a fixed function and one worker.

python litserve_echo.py PORT
"""

import sys

import litserve


class Echo(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict) -> str:
        return request["name"]

    def predict(self, name: str) -> str:
        return f"Hello, {name}!"

    def encode_response(self, output: str) -> dict:
        return {"output": output}


if __name__ == "__main__":
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
