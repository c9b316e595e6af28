// A real authorization server, npm's oidc-provider, for e2e_*.t.
//
//     node server.mjs '{"clients":{"ID":"SECRET"},"cert":FILE,"key":FILE}'
//
// In place of a secret a client can have an object of client metadata. With
// "ca":FILE the server asks for client certificates (RFC 8705). "ttl" is the
// lifetime of a token of the client credentials grant, in seconds (1800).
//
// It serves http, or https with a certificate, at a free port of localhost,
// prints its issuer, and ends when its standard input does. A token for the
// resource urn:api is a JWT; other tokens are opaque.
//
// GET /verify?token=JWT   the claims of a JWT that this server has signed
// GET /refresh_token?client=ID  a new refresh token of the client

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

const create = () => options.cert
  ? createHttps({
    cert: readFileSync(options.cert),
    key: readFileSync(options.key),
    ...options.ca && {
      ca: readFileSync(options.ca), requestCert: true, rejectUnauthorized: false,
    },
  }, serve)
  : createHttp(serve);

const server = create();

server.listen(0, '127.0.0.1');
await once(server, 'listening');

const { port } = server.address();
const issuer = `${options.cert ? 'https' : 'http'}://localhost:${port}`;

// It warns that its storage is in memory and its cookies are not secure.
console.warn = () => {};

const provider = new Provider(issuer, {
  clients: Object.entries(options.clients).map(([id, client]) => ({
    client_id: id,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    ...typeof client === 'string' ? { client_secret: client } : client,
  })),
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none',
    ...options.ca ? ['tls_client_auth', 'self_signed_tls_client_auth'] : [],
  ],
  enabledJWA: {
    clientAuthSigningAlgValues: [
      'HS256', 'HS384', 'HS512', 'RS256', 'PS256', 'ES256', 'ES384', 'EdDSA',
    ],
  },
  cookies: { keys: ['a key of cookies, which no one is sent'] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  scopes: ['api', 'openid', 'offline_access'],
  findAccount: (ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  ttl: { ClientCredentials: options.ttl ?? 1800 },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    mTLS: {
      enabled: !!options.ca,
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: ({ socket }) => socket.getPeerX509Certificate(),
      certificateAuthorized: ({ socket }) => socket.authorized,
      certificateSubjectMatches: ({ socket }, property, expected) =>
        property === 'tls_client_auth_subject_dn'
          && `CN=${socket.getPeerCertificate().subject.CN}` === expected,
    },
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

const refreshToken = async (clientId) => {
  const grant = new provider.Grant({ accountId: 'user', clientId });

  grant.addOIDCScope('openid offline_access api');

  return new provider.RefreshToken({
    accountId: 'user',
    client: await provider.Client.find(clientId),
    grantId: await grant.save(),
    scope: 'openid offline_access api',
    gty: 'authorization_code',
    claims: {},
  }).save();
};

handler = async (request, response) => {
  const url = new URL(request.url, issuer);

  if (url.pathname === '/refresh_token') {
    return response.end(await refreshToken(url.searchParams.get('client')));
  }

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
const second = create();

second.on('error', () => {});
second.listen(port, '::1');

process.stdin.on('end', () => process.exit()).resume();
console.log(issuer);
