// A platform that gives a workload its identity, for e2e_client_assertion.t: it
// makes assertions, and puts each into a file in place of the one before.
//
//     node platform.mjs '{"file":FILE,"client":ID,"audience":URL,
//                         "keys":{"KID":FILE},"key":KID,
//                         "every":0.5,"lifetime":4}'
//
// Times are in seconds. A line of its standard input names the key to sign with
// from then on; it prints the name of a key once a file of that key is there, and
// ends when its standard input does.

import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { importPKCS8, SignJWT } from 'jose';

const options = JSON.parse(process.argv[2]);
const { file, client, audience, keys, every, lifetime } = options;

let kid = options.key;

const replace = async () => {
  const key = await importPKCS8(readFileSync(keys[kid], 'utf8'), 'ES256');
  const now = Math.floor(Date.now() / 1000);
  const assertion = await new SignJWT({ jti: randomUUID() })
    .setProtectedHeader({ alg: 'ES256', kid })
    .setIssuer(client)
    .setSubject(client)
    .setAudience(audience)
    .setIssuedAt(now)
    .setExpirationTime(now + lifetime)
    .sign(key);

  writeFileSync(`${file}.new`, assertion, { mode: 0o600 });
  renameSync(`${file}.new`, file);
};

await replace();
console.log(kid);
setInterval(replace, every * 1000);

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    kid = line;
    await replace();
    console.log(kid);
  })
  .on('close', () => process.exit());
