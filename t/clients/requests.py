# Requests of Python's requests, for clients.t, which says what the lines mean.
#
#     python3 -I requests.py CA-FILE < requests
#
# Without -I, this file is the module of that name.

import sys
import time

import requests

FORM = 'application/x-www-form-urlencoded'
PAUSE = 0.05
TIMEOUT = 10


def parts(body):
    yield body[:len(body) // 2]
    time.sleep(PAUSE)
    yield body[len(body) // 2:]


# A file whose length is known and whose first byte is late.
class Late:
    def __init__(self, body):
        self.body = body
        self.left = len(body)

    def __len__(self):
        return len(self.body)

    def read(self, size=-1):
        if not self.left:
            return b''
        time.sleep(PAUSE)
        self.left = 0
        return self.body

    def __iter__(self):
        return iter([self.read()])


def ask(session, shape, url, text):
    if shape == 'get':
        return session.get(url, timeout=TIMEOUT)

    if shape == 'empty':
        return session.post(url, timeout=TIMEOUT)

    body = b'x' * int(text) if shape == 'large' else text.encode()
    kind = FORM if text.startswith('grant_type=') else 'text/plain'

    if shape == 'late':
        body = Late(body)
    elif shape == 'chunked':
        body = parts(body)

    return session.post(url, data=body, headers={'Content-Type': kind},
                        timeout=TIMEOUT)


session = requests.Session()
session.trust_env = False
session.verify = sys.argv[1]

for line in sys.stdin:
    name, shape, url, text = (line.rstrip('\n').split('\t') + [''])[:4]

    try:
        answer = ask(session, shape, url, text)
        print(name, answer.status_code, answer.headers.get('X-Requests'),
              ' '.join(answer.text.split()), sep='\t', flush=True)
    except Exception as error:
        print(name, 'failed', 0, repr(error), sep='\t', flush=True)
