// An OPC UA server made with node-opcua, for tests: node server.js CONFIG.json
//
// It prints one line of JSON when it can be talked to, and ends in order on SIGTERM. See machine.js for its nodes,
// control.js for the commands that it accepts while it runs, and OPTIONS for the keys of CONFIG.json.
"use strict";

globalThis.crypto ??= require("node:crypto").webcrypto; // Node 18 has it, but not where node-opcua looks

const fs = require("node:fs");
const path = require("node:path");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { nodesets } = require("node-opcua-nodesets");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const { OPCUAServer } = require("node-opcua-server");
const control = require("./control.js");
const { MACHINE, Machine } = require("./machine.js");

const HOST = "127.0.0.1";
const APPLICATION = "urn:lineside:peer:server";
const DAY = 24 * 3600 * 1000;

const OPTIONS = {
  port: undefined, // of the server
  control: undefined, // port of the commands
  certificates: undefined, // folder; the server makes its key and certificate in it where there are none
  certificate: {}, // what that certificate says otherwise: applicationUri, dns, ip, from and days (from today on)
  policies: ["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"],
  modes: ["None", "Sign", "SignAndEncrypt"],
  trust: true, // whether clients' certificates are trusted that it does not know
  anonymous: true,
  users: {}, // name -> password
  limits: {}, // operation limits (Part 5, 6.3.11) such as maxNodesPerRead
  capabilities: {}, // other limits (Part 5, 6.3.2) such as maxMonitoredItemsPerSubscription
  namespaces: [MACHINE], // registered in this order, from index 3 on; the machine's has to be one of them
  bulk: 0, // variables Bulk.0, Bulk.1 and so on
  counterPeriod: 0, // milliseconds; with 0 it does not count, which needs no processor time
  sessions: 100, // so many at once
};

/** Read the configuration; what is missing or unknown ends the server. */
function configured(file) {
  const written = JSON.parse(fs.readFileSync(file, "utf8"));
  for (const key of Object.keys(written)) {
    if (!(key in OPTIONS)) throw new Error(`${file}: there is no option ${key}`);
  }
  const options = { ...OPTIONS, ...written };
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined) throw new Error(`${file}: ${key} is missing`);
  }
  return options;
}

/** Return the members of an enumeration by their names. */
function named(enumeration, names) {
  return names.map((name) => {
    if (!(name in enumeration)) throw new Error(`${name} is none of ${Object.keys(enumeration)}`);
    return enumeration[name];
  });
}

/** Open the certificate store, and make the server's own certificate where it is missing. */
async function store(options, file) {
  const certificates = new OPCUACertificateManager({
    rootFolder: options.certificates,
    automaticallyAcceptUnknownCertificate: options.trust,
    disableFileWatchers: true,
  });
  await certificates.initialize();
  if (!fs.existsSync(file)) {
    const { from = 0, days = 365, ...names } = options.certificate;
    await certificates.createSelfSignedCertificate({
      subject: "/CN=Peer/O=Lineside",
      applicationUri: APPLICATION,
      dns: ["localhost"],
      ip: [HOST],
      startDate: new Date(Date.now() + from * DAY),
      validity: days,
      outputFile: file,
      ...names,
    });
  }
  return certificates;
}

function made(options, certificates, certificateFile) {
  return new OPCUAServer({
    host: HOST,
    hostname: HOST,
    port: options.port,
    securityPolicies: named(SecurityPolicy, options.policies),
    securityModes: named(MessageSecurityMode, options.modes),
    allowAnonymous: options.anonymous,
    userManager: { isValidUser: (name, password) => name in options.users && options.users[name] === password },
    certificateFile,
    serverCertificateManager: certificates,
    userCertificateManager: certificates,
    maxConnectionsPerEndpoint: 2 * options.sessions,
    serverCapabilities: { maxSessions: options.sessions, operationLimits: options.limits, ...options.capabilities },
    serverInfo: { applicationUri: APPLICATION, applicationName: { text: "Peer" } },
    nodesets: [nodesets.standard, path.join(__dirname, "types.NodeSet2.xml")],
  });
}

async function main(config) {
  const options = configured(config);
  const file = path.join(options.certificates, "own", "certs", "certificate.pem");
  const certificates = await store(options, file);
  const server = made(options, certificates, file);
  await server.initialize();
  for (const uri of options.namespaces) server.engine.addressSpace.registerNamespace(uri);
  const machine = new Machine(server.engine.addressSpace, options);
  await server.start();
  const commands = await control.serve(options.control, server, machine, certificates);
  process.once("SIGTERM", async () => {
    commands.close();
    await server.shutdown(0);
    process.exit(0);
  });
  console.log(JSON.stringify({ ready: server.getEndpointUrl() }));
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
