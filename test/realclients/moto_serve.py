# moto's server on a free port, which it prints; it ends with its standard input.
import contextlib
import io
import sys

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
with contextlib.redirect_stdout(io.StringIO()):
    server.start()
    _, port = server.get_host_and_port()
print(port, flush=True)
sys.stdin.read()
server.stop()
