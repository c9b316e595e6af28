// Requests of node's own fetch, or of npm's axios, for clients.t, which says
// what the lines mean.
//
//     node node.mjs fetch|axios CA-FILE < requests

import { createInterface } from 'node:readline';
import http from 'node:http';
import https from 'node:https';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';

const FORM = 'application/x-www-form-urlencoded';
const PAUSE = 50;
const TIMEOUT = 10000;

const [kind, ca] = process.argv.slice(2);

async function* parts(body, before) {
  if (before) await pause(PAUSE);
  yield body.subarray(0, body.length / 2);
  await pause(PAUSE);
  yield body.subarray(body.length / 2);
}

// What a request of this shape has beside its URL.
function options(shape, text) {
  const body = Buffer.from(shape === 'large' ? 'x'.repeat(Number(text)) : text);
  const type = text.startsWith('grant_type=') ? FORM : 'text/plain';
  const headers = { 'Content-Type': type };

  switch (shape) {
    case 'get':
      return { method: 'GET', headers: {} };
    case 'empty':
      return { method: 'POST', headers: {} };
    case 'small':
    case 'large':
      return { method: 'POST', headers, body };
    case 'late':
      headers['Content-Length'] = String(body.length);
      return { method: 'POST', headers, body: parts(body, true) };
    case 'chunked':
      return { method: 'POST', headers, body: parts(body) };
  }

  throw new Error(`no shape ${shape}`);
}

async function byFetch(url, { body, ...rest }) {
  const streamed = body && !Buffer.isBuffer(body);
  const answer = await fetch(url, {
    ...rest,
    body: streamed ? ReadableStream.from(body) : body,
    ...streamed && { duplex: 'half' },
    signal: AbortSignal.timeout(TIMEOUT),
  });

  return [answer.status, answer.headers.get('x-requests'), await answer.text()];
}

const agent = { keepAlive: true, maxSockets: 1 };
const agents = {
  httpAgent: new http.Agent(agent),
  httpsAgent: new https.Agent({ ...agent, ca: readFileSync(ca) }),
};

async function byAxios(url, { body, ...rest }) {
  const { default: axios } = await import('axios');
  const answer = await axios({
    ...rest,
    ...agents,
    url,
    data: body && !Buffer.isBuffer(body) ? Readable.from(body) : body,
    maxRedirects: 0,
    proxy: false,
    responseType: 'text',
    transformResponse: (text) => text,
    validateStatus: () => true,
    signal: AbortSignal.timeout(TIMEOUT),
  });

  return [answer.status, answer.headers['x-requests'], answer.data];
}

const ask = kind === 'fetch' ? byFetch : byAxios;

for await (const line of createInterface({ input: process.stdin })) {
  const [name, shape, url, text = ''] = line.split('\t');

  try {
    const [status, requests, body] = await ask(url, options(shape, text));
    console.log([name, status, requests, body.replaceAll(/\s+/g, ' ')].join('\t'));
  } catch (error) {
    console.log([name, 'failed', 0, error.cause ?? error].join('\t'));
  }
}

process.exit(0);
