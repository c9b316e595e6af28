// Drives the demo page in headless Chromium. Prints one "ok - …" or
// "not ok - …" a line for demo_browser.t.

const { chromium } = require('playwright-core');

const http = require('http');

const [base, allowed] = process.argv.slice(2);

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

function ok(good, name, found) {
  console.log(`${good ? 'ok' : 'not ok'} - ${name}`);
  if (!good && found !== undefined) {
    console.log(`found: ${JSON.stringify(found)}`);
  }
}

const like = (text, pattern, name) => ok(pattern.test(text), name, text);

// A fresh page that reaches nothing but the demo, and on which nothing may go
// wrong unseen.
async function open(browser, options) {
  const context = await browser.newContext({ locale: 'en-US', ...options });
  const page = await context.newPage();

  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('console', (message) => {
    if (/Content.Security.Policy/i.test(message.text())) {
      page.problems.push(message.text());
    }
  });
  await page.route((url) => url.origin !== new URL(base).origin, (route) => route.abort());
  await page.goto(base);

  page.status = page.locator('#token-status');
  page.steps = page.locator('#session-log');
  page.getToken = async (state) => {
    await page.getByRole('button', { name: 'Get token' }).click();
    await page.locator('#get-token:enabled').waitFor();
    await page.locator(`#token-status.${state}`).waitFor();
    return page.status.textContent();
  };
  page.openSession = async (state) => {
    await page.getByRole('button', { name: 'Initialize session' }).click();
    await page.locator('#open-session:enabled').waitFor();
    await page.locator(`#session-log .${state}:last-child`).waitFor();
    return page.steps.textContent();
  };
  page.answers = async (answer) => {
    await page.unroute('**/token');
    await page.route('**/token', (route) => (answer ? route.fulfill(answer) : route.abort()));
  };
  page.leave = async (name) => {
    ok(!page.problems.length, `${name}: no uncaught error, no breach of the policy`, page.problems);
    await context.close();
  };
  return page;
}

async function token(browser) {
  const page = await open(browser, { permissions: ['clipboard-read', 'clipboard-write'] });

  ok(await page.locator('#token').isHidden(), 'no token at first');
  const answer = page.waitForResponse('**/token');
  like(await page.getToken('good'), /^Token received in \d+ ms\.$/, 'Get token');

  const { access_token: full } = await (await answer).json();
  const shown = await page.locator('#access-token').textContent();
  const [head, tail] = shown.split('…');
  ok(tail && shown.length < full.length && full.startsWith(head) && full.endsWith(tail),
    'the token is shown, shortened', shown);
  ok(await page.locator('#stand-in').isVisible(), 'the stand-in is named');

  const { exp } = JSON.parse(Buffer.from(full.split('.')[1], 'base64url'));
  const expiry = await page.evaluate((time) => new Date(time).toLocaleString(undefined,
    { dateStyle: 'medium', timeStyle: 'short' }), exp * 1000);
  ok(await page.locator('#expiry').textContent() === expiry, 'its expiry is shown', expiry);

  const countdown = page.locator('#countdown');
  const before = await countdown.textContent();
  like(before, /^in \d\d:\d\d:\d\d$/, 'the time left is shown');
  await page.waitForTimeout(1500);
  ok(await countdown.textContent() < before, 'and counts down');

  await page.getByRole('button', { name: 'Copy' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  ok(await page.evaluate(() => navigator.clipboard.readText()) === full,
    'the copy button copies all of it');
  await page.leave('token');
}

async function failures(browser) {
  const page = await open(browser);
  const error = (status, headers) => ({ status, headers, json: { error: 'server_error' } });

  for (const [name, answer, pattern] of [
    ['401', error(401), /sign-in.* Status 401\.$/],
    ['403', error(403), /not hand out tokens to this page.* 403\.$/],
    ['405', error(405), /error.* 405\.$/],
    ['429', error(429), /Too many.* 429\.$/],
    ['502', error(502), /no token from the token endpoint.* 502\.$/],
    ['503', error(503, { 'Retry-After': '7' }), /busy.* 503, retry after 7 s\.$/],
    ['504', error(504), /too long.* 504\.$/],
    ['an error_description', { status: 502, json: { error_description: 'It was <b>refused</b>.' } },
      /terminal where the demo runs.* It says: “It was <b>refused<\/b>\.” Status 502\.$/],
    ['not JSON', { body: '<html>' }, /not JSON/],
    ['null', { body: 'null' }, /no access token/],
    ['no token', { json: { access_token: 1 } }, /no access token/],
    ['no network', null, /cannot be reached/],
  ]) {
    await page.answers(answer);
    like(await page.getToken('bad'), pattern, `${name} in words`);
  }
  ok(await page.locator('#token').isHidden(), 'no token is shown then');
  like(await page.openSession('bad'), /^The server cannot be reached/, 'and no session begun');

  await page.answers({ json: { access_token: 'opaque' } });
  await page.getToken('good');
  like(await page.locator('#expiry').textContent(), /opaque/, 'an opaque token is named one');
  ok(await page.locator('#access-token').textContent() === 'opaque', 'and shown');
  like(await page.openSession('bad'), /no session without a JWT/, 'and opens no session, in words');
  await page.leave('failures');
}

async function session(browser) {
  let page = await open(browser);
  like(await page.openSession('bad'), /Voxeet cannot be reached.* stand-in/,
    'the SDK without network: in words');
  like(await page.openSession('bad'), /Voxeet cannot be reached/,
    'the SDK without network, once more');
  await page.leave('session without network');

  page = await open(browser);
  await page.route('**/sdk/*', (route) => route.fulfill({ status: 404 }));
  like(await page.openSession('bad'), /SDK is not on this server.*VOXEET=1 \.\/build\.sh run/,
    'no SDK: in words, and how to get it');
  await page.leave('session without SDK');

  // What the page hands to the SDK, and what it makes of its answers.
  page = await open(browser);
  await page.route('**/sdk/voxeet-sdk.js', (route) => route.fulfill({
    contentType: 'text/javascript',
    body: `window.VoxeetSDK = {
      initializeToken(...given) { this.given = given; },
      session: {
        async open(info) { this.info = info; },
        isOpen() { return !!this.info; },
        async close() { this.info = null; },
      },
    };`,
  }));
  await page.getByLabel('Participant name').fill('Ada');
  like(await page.openSession('good'), /Session open as Ada\./, 'a session opens');

  const given = await page.evaluate(async () => {
    const [first, refresh] = VoxeetSDK.given;
    const promise = refresh(false);
    return { first, next: promise instanceof Promise && await promise, name: VoxeetSDK.session.info.name };
  });
  like(given.first, /^ey.+\..+\./, 'the SDK gets the token');
  like(given.next, /^ey.+\..+\./, 'the callback promises a token string');
  ok(given.name === 'Ada', 'and the name');

  await page.answers(null);
  ok(await page.evaluate(() => VoxeetSDK.given[1](false)) === given.next,
    'a refresh that fails gives the token that is still good');
  like(await page.steps.textContent(), /next token: The server cannot be reached/, 'and is told');

  await page.getByRole('button', { name: 'Close session' }).click();
  await page.getByRole('button', { name: 'Initialize session' }).waitFor();
  like(await page.steps.textContent(), /Session closed\.$/, 'and closes');
  await page.leave('session');
}

// A browser whose clock is ahead of everybody else's by so many hours, and an
// SDK that asks again at once, whatever it gets.
async function clock(browser) {
  const page = await open(browser);
  const requests = [];

  await page.addInitScript(() => {
    const now = Date.now;
    Date.now = () => now() + (window.hoursAhead ?? 2) * 3600000;
  });
  await page.reload();
  page.on('request', (request) => request.url().endsWith('/token') && requests.push(request));

  like(await page.getToken('bad'), /expired already, if the clock of this device is right. The clock or the token is wrong/,
    'a clock two hours ahead: in words');
  ok(await page.locator('#access-token').isVisible(), 'and the token is shown');
  like(await page.locator('#countdown').textContent(), /^expired$/, 'as expired');
  like(await page.openSession('bad'), /The clock or the token is wrong/, 'and opens no session');
  await page.waitForTimeout(2000);
  ok(requests.length === 2, 'and is asked for once each', requests.length);

  await page.route('**/sdk/voxeet-sdk.js', (route) => route.fulfill({
    contentType: 'text/javascript',
    body: `window.VoxeetSDK = {
      initializeToken(token, refresh) {
        this.spin = async () => { for (;;) await refresh(true).catch(() => {}); };
      },
      session: { async open() { }, isOpen() { return true; } },
    };`,
  }));
  await page.evaluate(() => { window.hoursAhead = 0; });
  await page.openSession('good');

  for (const [hours, name] of [[2, 'a clock that is set two hours ahead'], [0, 'an SDK that asks without end']]) {
    await page.evaluate((ahead) => { window.hoursAhead = ahead; window.running ??= VoxeetSDK.spin(); }, hours);
    requests.length = 0;
    await page.waitForTimeout(5000);
    ok(requests.length < 6, `${name}: few requests`, requests.length);
  }
  like(await page.steps.textContent(), /asked for the next token: .*clock or the token is wrong/, 'and is told');
  await page.leave('clock');
}

async function others(browser) {
  // with JavaScript, <noscript> is text; without, Playwright cannot ask
  const page = await open(browser);
  like(await page.locator('noscript').textContent(), /This page needs JavaScript.*curl http:\/\/localhost/s,
    'without JavaScript: in words, and what to do');
  await page.leave('others');

  const server = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<p>A page of one\'s own</p>');
  });
  for (const [port, pattern] of [[allowed, /^200 ey/], [0, /^TypeError/]]) {
    await new Promise((resolve) => { server.listen(port, 'localhost', resolve); });
    const context = await browser.newContext();
    const other = await context.newPage();
    await other.goto(`http://localhost:${server.address().port}/`);
    like(await other.evaluate((url) => fetch(url).then(async (response) =>
      `${response.status} ${(await response.json()).access_token}`).catch(String), new URL('/token', base).href),
      pattern, port ? 'a page on the port of CORS_ORIGIN gets a token' : 'one on another port does not');
    await context.close();
    server.closeAllConnections();
    await new Promise((resolve) => { server.close(resolve); });
  }
}

async function sizes(browser) {
  for (const [width, colorScheme] of [[320, 'light'], [390, 'dark'], [768, 'light'], [1280, 'dark']]) {
    const page = await open(browser, { viewport: { width, height: 844 }, colorScheme });
    const name = `${width}px, ${colorScheme}`;
    await page.getToken('good');
    await page.openSession('bad');
    const wide = await page.evaluate(() => [...document.querySelectorAll('body, body *')]
      .filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.id || e.tagName)
      .concat(document.documentElement.scrollWidth > innerWidth ? ['page'] : []));
    ok(!wide.length, `${name}: nothing is wider than the screen`, wide);
    await page.leave(name);
  }
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
  try {
    await token(browser);
    await failures(browser);
    await session(browser);
    await clock(browser);
    await others(browser);
    await sizes(browser);
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.log(`not ok - ${error.stack}`);
  process.exitCode = 1;
});
