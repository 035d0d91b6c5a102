"""Clients in Python: requests until standard input ends, and then what became of them, as JSON.

    python3 client.py URL CERTIFICATE LIBRARY CLIENTS

LIBRARY is http.client or requests (HTTP/1.1; a connection for each client, which keeps it), httpx (HTTP/2, a
connection for all of them), or grpc (grpcio). They think up to 20 ms between requests.
"""

import asyncio, collections, http.client, json, random, ssl, sys, threading, time, urllib.parse

URL, CERTIFICATE, LIBRARY, CLIENTS = sys.argv[1:]
HOST = urllib.parse.urlsplit(URL)
lock = threading.Lock()
stopped = False
requests_sent = connections = 0
slowest = 0.0
failures = collections.Counter()


def connected():
    global connections
    with lock:
        connections += 1


def noted(begin, failure):
    global requests_sent, slowest
    with lock:
        requests_sent += 1
        slowest = max(slowest, time.monotonic() - begin)
        if failure:
            failures[failure] += 1


def of_http_client():
    context = ssl.create_default_context(cafile=CERTIFICATE)

    class Connection(http.client.HTTPSConnection):
        def connect(self):
            connected()
            super().connect()

    connection = Connection(HOST.hostname, HOST.port, context=context, timeout=30)

    def ask(method, body):
        try:
            connection.request(method, "/", body)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except Exception:
            connection.close()
            raise

    return ask


def of_requests():
    import requests, urllib3.connection

    session = requests.Session()
    session.trust_env = False
    session.verify = CERTIFICATE
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=1, max_retries=0)
    session.mount("https://", adapter)
    connect = urllib3.connection.HTTPSConnection.connect

    def counted(self):
        connected()
        connect(self)

    with lock:
        if not hasattr(urllib3, "is_counted"):
            urllib3.is_counted = True
            urllib3.connection.HTTPSConnection.connect = counted
    return lambda method, body: session.request(method, URL, data=body, timeout=30).status_code


def of_grpc():
    import grpc

    # Channels of one process share connections.
    channel = grpc.insecure_channel(HOST.netloc)
    call = channel.unary_unary("/greeter.Greeter/Greet")

    def ask(method, body):
        try:
            call(b"\n\x03you", timeout=5)
        except grpc.RpcError as error:
            raise RuntimeError(f"{error.code().name}: {error.details()}") from None
        return 200

    return ask


def run(make):
    ask, post = make(), False
    while not stopped:
        method, body = ("POST", b"hello") if post else ("GET", None)
        begin, failure = time.monotonic(), None
        try:
            status = ask(method, body)
            if status != 200:
                failure = f"{method}: status {status}"
        except Exception as error:
            failure = f"{method}: {type(error).__name__}: {error}"
        noted(begin, failure)
        post = not post
        time.sleep(random.random() * 0.02)


async def run_httpx(client):
    async def trace(event, _):
        if event == "connection.connect_tcp.started":
            connected()

    post = False
    while not stopped:
        method, body = ("POST", b"hello") if post else ("GET", None)
        begin, failure = time.monotonic(), None
        try:
            answer = await client.request(method, URL, content=body, extensions={"trace": trace})
            if answer.status_code != 200 or answer.http_version != "HTTP/2":
                failure = f"{method}: {answer.http_version} {answer.status_code}"
        except Exception as error:
            failure = f"{method}: {type(error).__name__}: {error}"
        noted(begin, failure)
        post = not post
        await asyncio.sleep(random.random() * 0.02)


async def all_httpx():
    import httpx

    context = ssl.create_default_context(cafile=CERTIFICATE)
    async with httpx.AsyncClient(http2=True, verify=context, timeout=30) as client:
        await asyncio.gather(*(run_httpx(client) for _ in range(int(CLIENTS))))


def stop():
    global stopped
    sys.stdin.read()
    stopped = True


threading.Thread(target=stop, daemon=True).start()
if LIBRARY == "httpx":
    asyncio.run(all_httpx())
else:
    make = {"http.client": of_http_client, "requests": of_requests, "grpc": of_grpc}[LIBRARY]
    threads = [threading.Thread(target=run, args=(make,)) for _ in range(int(CLIENTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(json.dumps({
    "requests": requests_sent, "failed": failures.total(), "connections": connections or None,
    "slowest": slowest * 1000, "failures": failures,
}))
