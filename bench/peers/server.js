// A token proxy as it is commonly written: Express, axios, a variable as cache.

const axios = require('axios');
const express = require('express');

const [endpoint, port] = process.argv.slice(2);
const app = express();
let cached = null;
let pending = null;

async function fetchToken() {
  const response = await axios.post(
    endpoint,
    new URLSearchParams({ grant_type: 'client_credentials' }),
    { auth: { username: 'my-key', password: 'my-secret' } },
  );
  const { access_token, refresh_token, expires_in } = response.data;

  cached = {
    answer: { access_token, refresh_token },
    expires: Date.now() + expires_in * 1000,
  };
  return cached;
}

app.get('/token', async (req, res) => {
  try {
    let token = cached;

    if (!token || token.expires <= Date.now()) {
      pending ??= fetchToken().finally(() => { pending = null; });
      token = await pending;
    }

    res.set('Cache-Control', 'no-store');
    res.json(token.answer);
  } catch {
    res.status(502).json({ error: 'server_error' });
  }
});

app.listen(Number(port), '127.0.0.1');
