# Requests of Python's aiohttp, for clients.t, which says what the lines mean.
#
#     python3 -I aiohttp.py CA-FILE < requests
#
# Without -I, this file is the module of that name.

import asyncio
import ssl
import sys

import aiohttp

FORM = 'application/x-www-form-urlencoded'
PAUSE = 0.05
TIMEOUT = aiohttp.ClientTimeout(total=10)


async def parts(body, before=False):
    if before:
        await asyncio.sleep(PAUSE)
    yield body[:len(body) // 2]
    await asyncio.sleep(PAUSE)
    yield body[len(body) // 2:]


# What a request of this shape has beside its URL.
def options(shape, text):
    if shape == 'get':
        return {'method': 'GET'}

    if shape == 'empty':
        return {'method': 'POST'}

    body = b'x' * int(text) if shape == 'large' else text.encode()
    kind = FORM if text.startswith('grant_type=') else 'text/plain'
    made = {'method': 'POST', 'headers': {'Content-Type': kind}, 'data': body}

    if shape == 'late':
        made['headers']['Content-Length'] = str(len(body))
        made['data'] = parts(body, True)
    elif shape == 'expect':
        made['expect100'] = True
    elif shape == 'chunked':
        made['data'] = parts(body)

    return made


async def ask(session, name, shape, url, text):
    try:
        async with session.request(url=url, **options(shape, text)) as answer:
            print(name, answer.status, answer.headers.get('X-Requests'),
                  ' '.join((await answer.text()).split()), sep='\t', flush=True)
    except Exception as error:
        print(name, 'failed', 0, repr(error), sep='\t', flush=True)


def session():
    tls = ssl.create_default_context(cafile=sys.argv[1])
    connector = aiohttp.TCPConnector(limit=1, ssl=tls)

    return aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)


async def main():
    async with session() as kept:
        for line in sys.stdin:
            name, shape, url, text = (line.rstrip('\n').split('\t') + [''])[:4]

            # 3.8 ends a body that is answered before its end, and sends the
            # next request on that connection, whoever the server is
            if shape in ('get', 'empty', 'small'):
                await ask(kept, name, shape, url, text)
            else:
                async with session() as other:
                    await ask(other, name, shape, url, text)


asyncio.run(main())
