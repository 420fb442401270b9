// The commands of a test to the server while it runs: POST /COMMAND with arguments as JSON, answered with JSON.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { readCertificate } = require("node-opcua-crypto");

const SAMPLING = 100; // milliseconds between two samples of a monitored item, at most in these tests

/** How often each service was asked for, and how much was asked for at once. */
class Requests {
  constructor(server) {
    this.counted = {};
    server.on("request", (request) => this.count(request));
  }

  count(request) {
    const name = request.schema.name.replace(/Request$/, "");
    const lists = ["nodesToRead", "nodesToWrite", "itemsToCreate", "nodesToBrowse", "browsePaths", "methodsToCall"];
    const size = Math.max(0, ...lists.map((list) => request[list]?.length ?? 0));
    const sum = (this.counted[name] ??= { times: 0, most: 0 });
    sum.times += 1;
    sum.most = Math.max(sum.most, size);
  }
}

/** Return the sessions, and the subscriptions of those that were not closed. */
function counts(server) {
  const engine = server.engine;
  const sessions = engine.getSessions();
  const orphans = engine._orphanPublishEngine; // subscriptions whose session was closed without them
  const items = sessions.map((session) => session.currentMonitoredItemCount);
  return {
    sessions: sessions.length,
    subscriptions: engine.currentSubscriptionCount,
    items: items.reduce((sum, n) => sum + n, orphans?.currentMonitoredItemCount ?? 0),
    channels: server.currentChannelCount,
    names: sessions.map((session) => session.sessionName),
  };
}

/** Lose all sessions, or all subscriptions, without a message to clients: as a server that ran out of memory. */
function forget(server, what) {
  for (const session of server.engine.getSessions()) {
    if (what === "sessions") {
      server.engine.closeSession(session.authenticationToken, true, "Forcing");
    } else if (what === "subscriptions") {
      for (const subscription of [...session.publishEngine.subscriptions]) {
        session.deleteSubscription(subscription.id);
      }
    } else {
      throw new Error(`${what} can't be forgotten; sessions and subscriptions can`);
    }
  }
}

/** Trust every certificate that was turned away so far; returns how many. */
async function trust(certificates) {
  const folder = certificates.rejectedFolder;
  const files = fs.readdirSync(folder).filter((file) => file.endsWith(".pem"));
  for (const file of files) await certificates.trustCertificate(readCertificate(path.join(folder, file)));
  return files.length;
}

/** Set a variable, and return after monitored items have sampled it. Timers of a late process fire in their order. */
async function setAndSample(machine, node, what) {
  machine.set(node, what);
  await sleep(3 * SAMPLING);
}

/** Return the table of commands. */
function commands(server, machine, certificates) {
  const requests = new Requests(server);
  return {
    counts: () => counts(server),
    requests: () => requests.counted,
    set: ({ node, ...what }) => machine.set(node, what),
    setAndSample: ({ node, ...what }) => setAndSample(machine, node, what),
    setAll: ({ node, all }) => all.forEach((what) => machine.set(node, what)),
    get: ({ node }) => machine.get(node),
    add: ({ node, value, type }) => void machine.add(node, value, type),
    addRanged: ({ node, value, low, high }) => void machine.addRanged(node, value, low, high),
    delete: ({ node }) => machine.delete(node),
    raise: (event) => machine.raise(event),
    alarm: () => machine.alarmState(),
    acknowledge: (how) => machine.acknowledge(how),
    forget: ({ what }) => forget(server, what),
    trust: () => trust(certificates),
  };
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString("utf8") || "{}");
}

/** Serve the commands on a port of the loopback. */
function serve(port, server, machine, certificates) {
  const table = commands(server, machine, certificates);
  const answer = async (request) => {
    const command = table[request.url.slice(1)];
    if (!command) throw new Error(`there is no command ${request.url}`);
    return (await command(await body(request))) ?? null;
  };
  const control = http.createServer((request, response) => {
    answer(request).then(
      (result) => response.end(JSON.stringify(result)),
      (error) => response.writeHead(400).end(JSON.stringify(`${error.message}`)),
    );
  });
  return new Promise((resolve, reject) => control.once("error", reject).listen(port, "127.0.0.1", () => resolve(control)));
}

module.exports = { serve };
