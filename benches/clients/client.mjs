// Clients in Node: requests until standard input ends, and then what became of them, as JSON.
//
//     node client.mjs URL CERTIFICATE LIBRARY CLIENTS
//
// LIBRARY is https (HTTP/1.1; each client keeps a connection), http2 (a session for all of them; Node has no pool, so
// the next is opened when the last one was told to end), undici, or grpc (both of npm). They think up to 20 ms.

import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";

const [url, certificate, library, clients] = process.argv.slice(2);
// Where npm has installed them: the working directory.
const require = createRequire(process.cwd() + "/");
const ca = certificate && readFileSync(certificate);
const report = { requests: 0, failed: 0, connections: 0, slowest: 0, failures: {} };
let stopped = false;

// What every library connects with.
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...options) {
  report.connections += 1;
  return connect.apply(this, options);
};

/** Reads an answer to its end; gives its status. */
const read = (stream, status) => new Promise((resolve, reject) => {
  stream.on("error", reject).on("close", () => reject(new Error("closed without an end")));
  stream.on("data", () => {}).on("end", () => resolve(status()));
});

const libraries = {
  https() {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca });
    return (method, body) => new Promise((resolve, reject) => {
      const request = https.request(url, { method, agent }, (answer) =>
        read(answer, () => answer.statusCode).then(resolve, reject));
      request.on("error", reject).end(body);
    });
  },
  http2() {
    return (method, body) => {
      if (!http2.session || http2.session.closed || http2.session.destroyed) {
        http2.session = http2.connect(url, { ca });
        http2.session.on("error", () => {});
      }
      const stream = http2.session.request({ ":method": method, ":path": "/" });
      let status;
      stream.on("response", (head) => (status = head[":status"]));
      stream.end(body);
      return read(stream, () => status);
    };
  },
  undici() {
    const undici = require("undici");
    undici.shared ??= new undici.Agent({ allowH2: true, connect: { ca } });
    return async (method, body) => {
      const answer = await undici.request(url, { dispatcher: undici.shared, method, body });
      await answer.body.dump();
      return answer.statusCode;
    };
  },
  grpc() {
    const grpc = require("@grpc/grpc-js");
    grpc.shared ??= new grpc.Client(new URL(url).host, grpc.credentials.createInsecure());
    const same = (bytes) => bytes;
    const name = Buffer.from("\n\x03you");
    return () => new Promise((resolve, reject) => {
      const path = "/greeter.Greeter/Greet";
      grpc.shared.makeUnaryRequest(path, same, same, name, (error) =>
        error ? reject(error) : resolve(200));
    });
  },
};

async function run() {
  const ask = libraries[library]();
  for (let post = false; !stopped; post = !post) {
    const begin = performance.now();
    let failure;
    try {
      const status = await (post ? ask("POST", "hello") : ask("GET"));
      if (status !== 200) failure = `status ${status}`;
    } catch (error) {
      failure = `${error.code ?? error.name}: ${error.message}`;
    }
    report.requests += 1;
    report.slowest = Math.max(report.slowest, performance.now() - begin);
    if (failure) {
      failure = (post ? "POST: " : "GET: ") + failure;
      report.failed += 1;
      report.failures[failure] = (report.failures[failure] ?? 0) + 1;
    }
    await sleep(Math.random() * 20);
  }
}

process.stdin.resume().on("end", () => (stopped = true));
await Promise.all(Array.from({ length: Number(clients) }, run));
console.log(JSON.stringify(report));
process.exit();
