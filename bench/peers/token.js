// nginx's JavaScript module: it keeps nothing between requests, so that the
// endpoint's answer comes from proxy_cache.

async function token(r) {
  const reply = await r.subrequest('/endpoint', { method: 'POST' });
  const answer = JSON.parse(reply.responseText);

  r.headersOut['Content-Type'] = 'application/json';
  r.headersOut['Cache-Control'] = 'no-store';
  r.return(200, JSON.stringify({
    access_token: answer.access_token,
    refresh_token: answer.refresh_token,
  }));
}

export default { token };
