// Asks for tokens from pages on two origins and from a file, in headless
// Chromium. Prints one "ok - …" or "not ok - …" a line for
// front_door_browser.t.
//
//     node front_door.js APP OTHER TOKEN COUNT FILE
//
// APP and OTHER are the origins of pages, the first of them allowed; TOKEN is
// the origin of the token locations; COUNT tells the calls of the endpoint;
// FILE is a page on disk.

const { chromium } = require('playwright-core');
const { pathToFileURL } = require('url');

const [app, other, token, count, file] = process.argv.slice(2);

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

function is(found, expected, name) {
  const good = JSON.stringify(found) === JSON.stringify(expected);
  console.log(`${good ? 'ok' : 'not ok'} - ${name}`);
  if (!good) {
    console.log(`found: ${JSON.stringify(found)}, expected: ${JSON.stringify(expected)}`);
  }
}

// What a script of the page gets of a request: its status, the token, and
// the headers that it may read; or the name of the error.
const ask = (page, path, options) => page.evaluate(async ([url, init]) => {
  try {
    const response = await fetch(url, init);
    const { access_token: token, error } = await response.json().catch(() => ({}));
    return { status: response.status, token: Boolean(token), error,
      retry: response.headers.get('Retry-After') };
  } catch (error) {
    return error.name;
  }
}, [token + path, options]);

const calls = async () => Number(await (await fetch(count)).text());

const good = { status: 200, token: true, retry: null };
const basic = (text) => ({ headers: { Authorization: `Basic ${Buffer.from(text).toString('base64')}` } });

async function allowed(page) {
  is(await ask(page, '/token'), good, 'a simple request');
  is(await ask(page, '/token', { method: 'POST' }), good, 'a simple POST');
  is(await ask(page, '/token', { headers: { 'Content-Type': 'application/json' }, method: 'POST' }),
    good, 'a request with a header that needs a preflight');
  is(await ask(page, '/token', { headers: { 'X-Client': '1' } }), good,
    'a request with a header of one\'s own');
  is(await ask(page, '/token', { headers: { 'X-Evil': '1' } }), 'TypeError',
    'a request with a header that is not allowed is blocked');
  is(await ask(page, '/token', { method: 'DELETE' }), 'TypeError',
    'a method that is not allowed is blocked');
  is(await ask(page, '/busy'), { status: 503, token: false, error: 'temporarily_unavailable', retry: '1' },
    'an error can be read, and the header that is exposed');
  is(await ask(page, '/down'), { status: 502, token: false, error: 'server_error', retry: null },
    '502 can be read');
  is(await ask(page, '/refused'), { status: 403, token: false, retry: null },
    '403 of deny can be read');
  is(await ask(page, '/page'), { status: 403, token: false, error: 'page', retry: null },
    'an error page can be read');
}

async function authorization(page) {
  for (const [path, name] of [['/basic', 'Basic check'], ['/htpasswd', 'auth_basic']]) {
    const error = path === '/basic' ? { error: 'access_denied' } : {};

    is(await ask(page, path, basic('alice:wonder')), good, `${name}: a right password`);
    is(await ask(page, path, basic('alice:no')), { status: 401, token: false, ...error, retry: null },
      `${name}: a wrong password is a 401, not a TypeError`);
    is(await ask(page, path), { status: 401, token: false, ...error, retry: null },
      `${name}: so is none`);
  }
}

async function limited(page) {
  const found = [];
  for (let i = 0; i < 3; i++) {
    found.push((await ask(page, '/limited', { headers: { 'X-Client': '1' } })).status);
  }
  is(found, [200, 429, 429], '429 can be read, and no preflight counts');
}

async function credentials(page, context) {
  await context.addCookies([{ name: 'session', value: '1', url: token }]);

  is(await ask(page, '/credentials', { credentials: 'include' }), good, 'a request with a cookie');
  is(await ask(page, '/credentials', { credentials: 'include', headers: { 'X-Client': '1' } }), good,
    'a request with a cookie and a preflight');
  is(await ask(page, '/token', { credentials: 'include' }), 'TypeError',
    'where credentials are off, it is blocked');
  is(await ask(page, '/any'), good, 'any origin');
  is(await ask(page, '/any', { credentials: 'include' }), 'TypeError',
    'any origin: credentials are blocked');
}

async function stranger(page) {
  const before = await calls();

  is(await ask(page, '/token'), 'TypeError', 'another origin is blocked');
  is(await ask(page, '/token', { method: 'POST' }), 'TypeError', 'so is its POST');
  is(await ask(page, '/token', { headers: { 'X-Client': '1' } }), 'TypeError',
    'and its preflight');
  is(await ask(page, '/token', { mode: 'no-cors', method: 'POST' }), { status: 0, token: false, retry: null },
    'without asking for permission it can read nothing');
  is(await withoutCors(page, `${token}/token`), ['blocked', 'blocked', 403, 403],
    'so are its image, its script, its link and its form');
  is(await ask(page, '/off', { mode: 'no-cors', method: 'POST' }), { status: 0, token: false, retry: null },
    'where no origin may call, it can read nothing either');
  is(await withoutCors(page, `${token}/off`), ['blocked', 'blocked', 403, 403],
    'and its image, its script, its link and its form are refused');
  is(await calls(), before, 'the endpoint was not called');
  is(await ask(page, '/any'), good, 'where any origin is allowed, it is');
  is(await calls(), before + 1, 'which calls the endpoint');
}

// The statuses of what a page can ask for without CORS, or that the browser has
// blocked what came. Each has a URL of its own, since the failure of an earlier
// request may be told late.
async function withoutCors(page, url) {
  const found = [];
  const home = page.url();

  for (const tag of ['img', 'script', 'a', 'form']) {
    const target = `${url}?${tag}`;
    const leaves = tag === 'a' || tag === 'form';
    const response = Promise.race([page.waitForResponse(target),
      page.waitForEvent('requestfailed', (request) => request.url() === target)]);
    // A navigation that has not ended would interrupt the one back home.
    const left = leaves && page.waitForURL(target);

    await page.evaluate(([name, to]) => {
      const element = document.createElement(name);

      Object.assign(element, name === 'form' ? { action: to, method: 'post' }
        : name === 'a' ? { href: to, target: '_self' } : { src: to });
      document.documentElement.append(element);
      if (name === 'a') element.click();
      if (name === 'form') element.submit();
    }, [tag, target]);

    found.push((await response).status?.() ?? 'blocked');
    await left;
    if (leaves) await page.goto(home);
  }

  return found;
}

async function files(page) {
  is(await ask(page, '/token'), 'TypeError', 'a file is blocked');
  is(await ask(page, '/null'), good, 'where null is allowed, a file is');
  is(await ask(page, '/null', { headers: { 'X-Client': '1' } }), good, 'with a preflight too');
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });

  try {
    const context = await browser.newContext();
    const open = async (url) => {
      const page = await context.newPage();
      await page.goto(url);
      return page;
    };

    const page = await open(`${app}/`);
    await allowed(page);
    await authorization(page);
    await limited(page);
    await credentials(page, context);
    await stranger(await open(`${other}/`));
    await files(await open(pathToFileURL(file).href));

    const own = await open(`${token}/`);
    is(await ask(own, '/token', { method: 'POST' }), good, 'a page of the same origin');
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.log(`not ok - ${error.stack}`);
  process.exitCode = 1;
});
