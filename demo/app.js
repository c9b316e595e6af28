// The demo page: fetches a token from /token, shows it, and opens a session of
// the Voxeet Web SDK with it.

const $ = (id) => document.getElementById(id);

let held;         // { token, claims } of the last answer
let countdown;    // the timer that shows how long it lives


// The token

const problems = {
  401: 'The server asks for a sign-in before it hands out a token.',
  403: 'The server does not hand out tokens to this page.',
  404: 'There is no token location on this server.',
  429: 'Too many requests. Wait a moment and try again.',
  502: 'nginx got no token from the token endpoint. The address, the key or the secret may be wrong. nginx\'s error log says which: it is in the terminal where the demo runs.',
  503: 'The token endpoint is busy. Try again later.',
  504: 'The token endpoint took too long to answer.',
};

async function requestToken() {
  let response;
  try {
    response = await fetch('/token', { signal: AbortSignal.timeout(30000) });
  } catch (error) {
    throw new Error(error.name === 'TimeoutError'
      ? 'No answer within 30 seconds.'
      : 'The server cannot be reached. Is nginx running, and is this device online?');
  }

  if (!response.ok) {
    const words = problems[response.status] ?? 'The server answered with an error.';
    const wait = response.headers.get('Retry-After');
    const said = (await response.json().catch(() => undefined))?.error_description;
    const quote = typeof said === 'string' && said ? ` It says: “${said.slice(0, 200)}”` : '';
    throw new Error(`${words}${quote} Status ${response.status}${wait ? `, retry after ${wait} s` : ''}.`);
  }

  const body = await response.json().catch(() => {
    throw new Error('The answer of /token is not JSON.');
  });
  if (typeof body?.access_token !== 'string') {
    throw new Error('The answer of /token has no access token in it.');
  }

  held = { token: body.access_token, claims: decode(body.access_token) };
  showToken(body);

  if (secondsLeft(held.claims?.exp) <= 0) {
    throw new Error('This token has expired already, if the clock of this device is right. '
      + `The clock or the token is wrong: it is ${timeOf(Date.now())} here, `
      + `and the token ends ${timeOf(held.claims.exp * 1000)}.`);
  }
  return held.token;
}

const timeOf = (time) => new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

// The claims of a JWT, or undefined for an opaque token.
function decode(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? undefined;
  } catch {
    return undefined;
  }
}

const secondsLeft = (exp) => Math.ceil(exp - Date.now() / 1000);

const shorten = (token) => (token.length > 24 ? `${token.slice(0, 12)}…${token.slice(-8)}` : token);

function showToken(body) {
  const { claims } = held;

  $('access-token').textContent = shorten(body.access_token);
  $('refresh-token').textContent = body.refresh_token ? shorten(body.refresh_token) : 'none sent';
  $('stand-in').hidden = claims?.iss !== 'stand-in';
  $('expiry').textContent = Number.isFinite(claims?.exp)
    ? timeOf(claims.exp * 1000)
    : 'unknown: ' + (claims ? 'the token names no time' : 'the token is opaque, not a JWT');
  $('token').hidden = false;

  clearInterval(countdown);
  countdown = setInterval(showCountdown, 1000);
  showCountdown();
}

function showCountdown() {
  const left = secondsLeft(held.claims?.exp);
  const clock = [left / 3600, (left / 60) % 60, left % 60].map((n) => String(Math.floor(n)).padStart(2, '0'));

  $('countdown').textContent = Number.isNaN(left) ? '' : left > 0 ? `in ${clock.join(':')}` : 'expired';
}

function say(text, kind) {
  $('token-status').textContent = text;
  $('token-status').className = `status ${kind ?? ''}`;
}

async function busy(button, work) {
  button.disabled = true;
  try {
    await work();
  } finally {
    button.disabled = false;
  }
}

$('get-token').addEventListener('click', () => busy($('get-token'), async () => {
  say('Asking for a token …');
  try {
    const start = performance.now();
    await requestToken();
    say(`Token received in ${Math.round(performance.now() - start)} ms.`, 'good');
  } catch (error) {
    say(error.message, 'bad');
  }
}));

$('copy').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(held.token);
    $('copy').textContent = 'Copied';
    say('The whole token is in the clipboard.', 'good');
  } catch {
    say('The browser did not allow copying: it wants https or localhost.', 'bad');
  }
  setTimeout(() => { $('copy').textContent = 'Copy'; }, 2000);
});


// The session

// The SDK calls this before the token expires, and wants the string alone.
// While the token that it has is still good it gets that one again when
// nothing new can be had, and asks again later.
//
// It asks again at once when it got no token, or one that has expired by this
// device's clock. So a call waits first when it follows another closely, or
// one that failed: 1 s, 2 s, 4 s, up to a minute.
let pause = 0;
let asked = -Infinity;
let failed = false;

async function refreshToken() {
  const hurried = failed || performance.now() - asked < 5000;
  pause = hurried ? Math.min(pause * 2 || 1000, 60000) : 0;
  await new Promise((resolve) => { setTimeout(resolve, pause); });
  asked = performance.now();

  try {
    const token = await requestToken();
    failed = false;
    log('The SDK asked for the next token and got it.', 'good');
    return token;
  } catch (error) {
    failed = true;
    log(`The SDK asked for the next token: ${error.message}`, 'bad');
    if (secondsLeft(held?.claims?.exp) > 0) {
      return held.token;
    }
    throw error;
  }
}

function loadSdk() {
  return new Promise((resolve, reject) => {
    if (window.VoxeetSDK) {
      resolve();
      return;
    }
    const script = document.createElement('script');
    script.src = '/sdk/voxeet-sdk.js';
    script.onload = resolve;
    script.onerror = () => {
      script.remove();
      reject(new Error('The Voxeet Web SDK is not on this server. Start the demo with VOXEET=1 ./build.sh run, which installs npm and the SDK; the terminal says so if that fails.'));
    };
    document.head.append(script);
  });
}

function withinSeconds(seconds, promise) {
  return Promise.race([promise, new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no answer within ${seconds} seconds`)), seconds * 1000);
  })]);
}

function log(text, kind) {
  const item = document.createElement('li');
  item.textContent = text;
  item.className = kind ?? '';
  $('session-log').append(item);
}

// A ServerError of the SDK has no status when no answer came.
function inWords(error) {
  if (error?.name !== 'ServerError') {
    return error?.message || String(error);
  }
  return error.status
    ? `Voxeet answered ${[error.status, error.description || error.reason].filter(Boolean).join(', ')}`
    : 'Voxeet cannot be reached from this browser';
}

async function openSession(name) {
  $('session-log').replaceChildren();

  if (!(secondsLeft(held?.claims?.exp) > 0)) {
    await requestToken();
  }
  if (!Number.isFinite(held.claims?.exp)) {
    throw new Error('The SDK reads from the token when it expires, and this token does not tell: no session without a JWT.');
  }
  log('Token fetched.', 'good');

  await loadSdk();
  VoxeetSDK.initializeToken(held.token, refreshToken);
  log('SDK loaded, token and refresh callback handed over.', 'good');

  try {
    await withinSeconds(20, VoxeetSDK.session.open({ name }));
  } catch (error) {
    throw new Error(`The session did not open: ${inWords(error)}.` + (held.claims.iss === 'stand-in'
      ? ' A token of the stand-in endpoint is not valid there.'
      : ''));
  }
  log(`Session open as ${name}.`, 'good');
}

$('session').addEventListener('submit', (event) => {
  event.preventDefault();
  busy($('open-session'), async () => {
    try {
      if (window.VoxeetSDK?.session.isOpen()) {
        await VoxeetSDK.session.close();
        log('Session closed.', 'good');
      } else {
        await openSession($('name').value);
      }
    } catch (error) {
      log(inWords(error), 'bad');
    }
    $('open-session').textContent = window.VoxeetSDK?.session.isOpen() ? 'Close session' : 'Initialize session';
  });
});
