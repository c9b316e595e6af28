// A real authorization server, npm's @node-oauth/oauth2-server in express, for
// e2e_oauth2_server.t. Its model is what its documentation asks for, in memory.
//
//     node server.mjs '{"port":PORT,"clients":{"ID":{"secret":"SECRET"}}}'
//
// A client without a secret is a public one. "accessTokenLifetime" and
// "refreshTokenLifetime" of a client are in seconds. With "idle":MS all
// connections that wait for a request are closed each so many milliseconds.
//
// POST /token             the token endpoint; the only user has the name
//                         "user" and the password "user-password"
// GET /api                the client of the token that the request bears
// GET /issued?client=ID   how many tokens the client has had

import express from 'express';
import OAuthServer from '@node-oauth/express-oauth-server';

const options = JSON.parse(process.argv[2]);
const accessTokens = new Map();
const refreshTokens = new Map();
const issued = {};

const clients = new Map(Object.entries(options.clients).map(([id, client]) => [id, {
  grants: ['client_credentials', 'password', 'refresh_token'],
  ...client,
  id,
}]));

const oauth = new OAuthServer({
  // whether a client may go without a secret is decided below
  requireClientAuthentication: { password: false, refresh_token: false },
  model: {
    getClient(id, secret) {
      const client = clients.get(id);

      return client && client.secret === (secret ?? undefined) && client;
    },

    getUser(name, password) {
      return name === 'user' && password === 'user-password' && { name };
    },

    getUserFromClient(client) {
      return { name: `client ${client.id}` };
    },

    validateScope(user, client, scope) {
      return (scope ?? []).every((name) => name === 'api') && (scope ?? ['api']);
    },

    saveToken(token, client, user) {
      const saved = { ...token, client, user };

      issued[client.id] = (issued[client.id] ?? 0) + 1;
      accessTokens.set(token.accessToken, saved);

      if (token.refreshToken) {
        refreshTokens.set(token.refreshToken, saved);
      }

      return saved;
    },

    getAccessToken(token) {
      return accessTokens.get(token);
    },

    getRefreshToken(token) {
      return refreshTokens.get(token);
    },

    revokeToken(token) {
      return refreshTokens.delete(token.refreshToken);
    },
  },
});

const app = express();

app.use(express.urlencoded({ extended: false }));
app.post('/token', oauth.token());
app.get('/api', oauth.authenticate(), (request, response) => {
  response.send(response.locals.oauth.token.client.id);
});
app.get('/issued', (request, response) => {
  response.send(String(issued[request.query.client] ?? 0));
});

const server = app.listen(options.port, '127.0.0.1');

if (options.idle) {
  setInterval(() => server.closeIdleConnections(), options.idle);
}
