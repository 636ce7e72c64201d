// Follows one scope and prints a line of JSON for each version, as `tenantconfig watch -o json` does. Copy it together
// with watch.proto, and put your application where `print` is.
//
//     npm install
//     node watch.mjs --server HOST:PORT --ca FILE --token-file FILE --tenant T [--environment E] [--service S]
//
// Each flag may be a variable as well: TENANTCONFIG_SERVER, TENANTCONFIG_TOKEN_FILE, …
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const FIRST_BACK_OFF_MS = 200;
const LONGEST_BACK_OFF_MS = 10_000;
const SILENCE_MS = 20_000; // heartbeats come every few seconds: beyond this the connection is taken for dead
const FRESH_MS = 30_000; // the controller vouches every 2 s; the rest is for clocks that differ
const { INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED } = grpc.status;
const LASTING = [INVALID_ARGUMENT, PERMISSION_DENIED, UNIMPLEMENTED]; // trying again does not help

const PROTO = fileURLToPath(new URL('../../operator/tenantconfig/watch/v1/watch.proto', import.meta.url));
// Revisions are 64 bits wide, which numbers are not.
const definition = loadSync(PROTO, { longs: String, enums: String, defaults: true, oneofs: true });
const { WatchService } = grpc.loadPackageDefinition(definition).tenantconfig.watch.v1;

// The JSON of RFC 8785 for text keys and text values. An object would move keys such as `10` to its beginning.
function canonical(entries) {
  const members = [...entries.keys()].sort().map((key) => `${JSON.stringify(key)}:${JSON.stringify(entries.get(key))}`);
  return `{${members.join(',')}}`;
}

const digest = (entries) => createHash('sha256').update(canonical(entries)).digest('hex');
const sameVersion = (one, other) => one?.revision === other?.revision && one?.digest === other?.digest;

// What is held of a scope, and what each message of the server makes of it: `take` returns what to answer.
class Subscription {
  held = null; // { version, entries }; kept through lost connections
  withdrawn = 0n; // the revision that was taken back: a server that lags may still offer it
  doubt = ''; // why what is held may not be the latest, apart from what heartbeats say

  constructor(scope, subscriber) {
    Object.assign(this, { scope, subscriber });
  }

  subscribe(known = this.held?.version) {
    return { subscribe: { scope: this.scope, known, subscriber: this.subscriber } };
  }

  take(message) {
    const { response: kind, snapshot, delta, absent, heartbeat, denied } = message;
    if (kind === 'snapshot') return this.apply(snapshot.version, new Map(Object.entries(snapshot.entries)));
    if (kind === 'delta') return this.delta(delta);
    if (kind === 'current') this.doubt = '';
    if (kind === 'absent') this.absent(absent.reason === 'ABSENT_REASON_WITHDRAWN');
    if (kind === 'heartbeat') this.heartbeat(heartbeat);
    if (kind === 'denied') throw Object.assign(new Error(denied.reason), { code: PERMISSION_DENIED });
    return []; // a kind that is not known is of a later protocol
  }

  // `remedy` is what to ask if the entries are not what the server means.
  apply(version, entries, remedy = []) {
    const revision = BigInt(version.revision);
    if (digest(entries) !== version.digest) {
      return [this.refuse(version, 'the digest does not match the entries'), ...remedy];
    }
    if (revision < BigInt(this.held?.version.revision ?? 0)) return [this.refuse(version, 'a newer revision is held')];
    if (revision <= this.withdrawn) return [this.refuse(version, 'the revision was withdrawn')];
    // Validate the entries here, and refuse those that cannot be used: operators see why, and the former stay.
    if (!sameVersion(this.held?.version, version)) print(this.scope, version, canonical(entries));
    this.held = { version, entries };
    this.doubt = '';
    return [{ acknowledge: { scope: this.scope, version } }];
  }

  delta({ base, version, changed, removed }) {
    if (!sameVersion(this.held?.version, base)) return [this.subscribe()]; // it leads on from something else
    const entries = new Map([...this.held.entries, ...Object.entries(changed)]);
    for (const key of removed) entries.delete(key);
    return this.apply(version, entries, [this.subscribe(null)]);
  }

  refuse(version, error) {
    this.doubt = `revision ${version.revision} was refused: ${error}`;
    return { acknowledge: { scope: this.scope, version, error } };
  }

  absent(withdrawn) {
    if (withdrawn && this.held) [this.withdrawn, this.held] = [BigInt(this.held.version.revision), null];
    this.doubt = withdrawn ? '' : 'it is not found';
    const reason = withdrawn ? 'WITHDRAWN' : 'NOT_FOUND';
    console.log(JSON.stringify({ scope: this.scope, absent: reason, receivedAt: new Date() }));
  }

  heartbeat({ freshAsOf, stale: [stale] }) {
    const silent = !freshAsOf || Date.now() - 1000 * Number(freshAsOf.seconds) > FRESH_MS;
    const reason = stale?.reason || this.doubt || (silent ? 'the controller does not vouch for it' : '');
    note(reason ? `may not be at the latest version: ${reason}` : 'at the latest version');
  }
}

function print(scope, { revision, digest }, entries) {
  const [who, when] = [JSON.stringify(scope), new Date().toISOString()];
  const what = `"revision":${revision},"digest":"${digest}","entries":${entries}`;
  console.log(`{"scope":${who},${what},"receivedAt":"${when}"}`);
}

let noted = '';
function note(text) {
  if (text !== noted) console.error(`watch: ${text}`);
  noted = text;
}

// Both files are read for each connection: kubelet renews them.
function read(flag, file) {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Error(`${flag} ${file} cannot be read: ${error.code}`);
  }
}

function readToken(file) {
  const token = read('--token-file', file).toString().trim();
  // What gRPC says of others would repeat them.
  if (!/^[!-~]+$/.test(token)) throw new Error(`--token-file ${file} does not hold a token: one word of ASCII`);
  return token;
}

// One stream, until it ends; returns only by an exception, or when the server ends it without an error.
async function follow(subscription, { server, ca, token }, onMessage) {
  const client = new WatchService(server, grpc.credentials.createSsl(ca ? read('--ca', ca) : null));
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  const call = client.watch(metadata).on('error', () => {}); // the loop below hears of it, unless it has ended before
  const watchdog = setTimeout(() => call.cancel(), SILENCE_MS);
  try {
    call.write(subscription.subscribe());
    for await (const message of call) {
      watchdog.refresh();
      onMessage();
      for (const answer of subscription.take(message)) call.write(answer);
    }
  } finally {
    clearTimeout(watchdog);
    call.cancel();
    client.close();
  }
}

async function main() {
  const names = ['server', 'ca', 'token-file', 'tenant', 'environment', 'service', 'subscriber'];
  const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
  const setting = (name, otherwise) => {
    const variable = `TENANTCONFIG_${name.toUpperCase().replace('-', '_')}`;
    const value = values[name] ?? process.env[variable] ?? otherwise;
    if (value === undefined) throw new Error(`--${name} (or ${variable}) is required`);
    return value;
  };
  const scope = { tenant: setting('tenant'), environment: setting('environment', ''), service: setting('service', '') };
  const subscription = new Subscription(scope, setting('subscriber', hostname()));
  const [server, ca, tokenFile] = [setting('server'), setting('ca', ''), setting('token-file')];

  for (let failures = 0; ; failures += 1) {
    const token = readToken(tokenFile);
    try {
      await follow(subscription, { server, ca, token }, () => { failures = 0; });
      note('the server ended the stream; trying again');
    } catch (error) {
      const expired = error.code === UNAUTHENTICATED && readToken(tokenFile) === token;
      if (!Number.isInteger(error.code) || LASTING.includes(error.code) || expired) throw error;
      note(`no stream from ${server}: ${error.details}; trying again`);
    }
    const longest = Math.min(LONGEST_BACK_OFF_MS, FIRST_BACK_OFF_MS * 2 ** failures);
    await sleep(longest * (0.5 + Math.random() / 2)); // so that many clients do not come back as one
  }
}

process.stdout.on('error', () => process.exit(1)); // nobody reads any more
main().catch((error) => {
  console.error(`watch: ${error.details ?? error.message}`);
  process.exit(1);
});
