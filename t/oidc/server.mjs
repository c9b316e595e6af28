// A real authorization server, npm's oidc-provider, for e2e_oidc.t.
//
//     node server.mjs '{"clients":{"ID":"SECRET"},"cert":FILE,"key":FILE}'
//
// It serves http, or https with a certificate, at a free port of localhost,
// prints its issuer, and ends when its standard input does. A token for the
// resource urn:api is a JWT; other tokens are opaque.
//
// GET /verify?token=JWT   the claims of a JWT that this server has signed

import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { jwtVerify } from 'jose';
import Provider from 'oidc-provider';

const options = JSON.parse(process.argv[2]);
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

// Without a provider yet, since its issuer holds the port.
let handler;
const serve = (request, response) => handler(request, response);

const server = options.cert
  ? createHttps({ cert: readFileSync(options.cert), key: readFileSync(options.key) }, serve)
  : createHttp(serve);

server.listen(0, '127.0.0.1');
await once(server, 'listening');

const { port } = server.address();
const issuer = `${options.cert ? 'https' : 'http'}://localhost:${port}`;

// It warns that its storage is in memory and its cookies are not secure.
console.warn = () => {};

const provider = new Provider(issuer, {
  clients: Object.entries(options.clients).map(([id, secret]) => ({
    client_id: id,
    client_secret: secret,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  })),
  cookies: { keys: ['a key of cookies, which no one is sent'] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  scopes: ['api'],
  ttl: { ClientCredentials: 1800 },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: 'api',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});

const answer = provider.callback();

handler = async (request, response) => {
  const url = new URL(request.url, issuer);

  if (url.pathname !== '/verify') {
    return answer(request, response);
  }

  try {
    const { payload } = await jwtVerify(url.searchParams.get('token'), publicKey, { issuer });
    response.end(JSON.stringify(payload));
  } catch (error) {
    response.writeHead(400).end(error.message);
  }
};

// The other address of localhost, where there is one.
const second = options.cert
  ? createHttps({ cert: readFileSync(options.cert), key: readFileSync(options.key) }, serve)
  : createHttp(serve);

second.on('error', () => {});
second.listen(port, '::1');

process.stdin.on('end', () => process.exit()).resume();
console.log(issuer);
