// The service clients of the AWS IoT Device SDK for JavaScript v2 against a server, told by the JSON
// in argv[2]: version 3 | 5 of MQTT, host, port, ca, clientId, cert and key (files), and service
//   "shadow"    of the thing named as the client identifier
//   "jobs"      of the same; prints "create ID" when the server's side shall make a job of that name
//   "identity"  with template, certificate and key being a claim; csr is a signing request, known
//               serial numbers are given to things named "fleet-SERIAL"
// Both generations of the clients are used: those that publish and subscribe one by one, and those
// that wait for the answer. It exits with 1 at the first surprise.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import sdk from "aws-iot-device-sdk-v2";
import { Inbox, five, settled, three } from "./connection.mjs";

const { iotidentity, iotjobs, iotshadow } = sdk;
const o = JSON.parse(process.argv[2]);
const QOS1 = 1;

/** connect returns a connected client of the wanted version, and how to leave. */
async function connect(options) {
  if (options.version === 5) {
    const client = five(options);
    const up = settled("connect", new Promise((resolve, reject) => {
      client.once("connectionSuccess", resolve);
      client.once("connectionFailure", ({ error }) => reject(new Error(error.toString())));
    }));
    client.start();
    await up;
    return {
      client,
      async close() {
        const stopped = new Promise((resolve) => client.once("stopped", resolve));
        client.stop();
        await settled("stop", stopped);
        client.close();
      },
    };
  }
  const client = three(options);
  await settled("connect", client.connect());
  return { client, close: () => settled("disconnect", client.disconnect()) };
}

/** first makes a client of the generation that publishes and subscribes one by one. */
const first = (Client, client) => (o.version === 5 ? Client.newFromMqtt5Client(client) : new Client(client));

/** second makes a client of the generation that waits for answers. */
function second(Client, client) {
  const limits = { maxRequestResponseSubscriptions: 6, maxStreamingSubscriptions: 4, operationTimeoutInSeconds: 30 };
  return o.version === 5 ? Client.newFromMqtt5(client, limits) : Client.newFromMqtt311(client, limits);
}

/** stream opens a streaming operation and collects its events. */
async function stream(operation) {
  const events = new Inbox();
  operation.on("incomingPublish", ({ message }) => events.put(message));
  operation.on("incomingPublishError", ({ error }) => events.put(error));
  const established = new Promise((resolve, reject) =>
    operation.once("subscriptionStatus", (s) => (s.type === 0 ? resolve() : reject(new Error(`subscription status ${s.type}: ${s.error}`)))));
  operation.open();
  await settled("subscription of a stream", established);
  return events;
}

/** collect subscribes with one of the first generation's functions and collects what comes. */
async function collect(subscribe, request) {
  const events = new Inbox();
  await settled("subscription", subscribe(request, QOS1, (error, response) => events.put(error ?? response)));
  return events;
}

/** refused expects a request to be refused with a code that the service models. */
async function refused(promise, code) {
  await assert.rejects(promise, (e) => {
    assert.equal(e.modeledError?.code ?? e.modeledError?.errorCode ?? e.modeledError?.statusCode, code, JSON.stringify(e));
    return true;
  });
}

async function shadow() {
  const thingName = o.clientId;
  let { client, close } = await connect(o);
  const v2 = second(iotshadow.IotShadowClientv2, client);
  for (const shadowName of [undefined, "config"]) {
    const id = shadowName ? { thingName, shadowName } : { thingName };
    const [update, get, remove] = shadowName
      ? [v2.updateNamedShadow, v2.getNamedShadow, v2.deleteNamedShadow].map((f) => f.bind(v2))
      : [v2.updateShadow, v2.getShadow, v2.deleteShadow].map((f) => f.bind(v2));
    const deltas = await stream(shadowName ? v2.createNamedShadowDeltaUpdatedStream(id) : v2.createShadowDeltaUpdatedStream(id));
    const updates = await stream(shadowName ? v2.createNamedShadowUpdatedStream(id) : v2.createShadowUpdatedStream(id));
    await refused(get(id), 404);

    const made = await update({ ...id, state: { reported: { on: false, level: 3 } } });
    assert.deepEqual(made.state, { reported: { on: false, level: 3 } });
    assert.equal(made.version, 1);
    assert.ok(made.timestamp > 1e9 && made.metadata.reported.on.timestamp > 1e9);
    let change = await updates.next("documents");
    assert.equal(change.previous?.version ?? 0, 0);
    assert.deepEqual(change.current.state.reported, { on: false, level: 3 });

    await update({ ...id, state: { desired: { on: true, level: 3 } } });
    const delta = await deltas.next("delta");
    assert.deepEqual(delta.state, { on: true });
    assert.equal(delta.version, 2);
    change = await updates.next("documents");
    assert.equal(change.previous.version, 1);
    assert.equal(change.current.version, 2);

    const whole = await get(id);
    assert.deepEqual(whole.state, { desired: { on: true, level: 3 }, reported: { on: false, level: 3 }, delta: { on: true } });
    await refused(update({ ...id, state: { desired: { on: false } }, version: 1 }), 409);
    await refused(update({ ...id, state: { desired: "text" } }), 400);
    const gone = await remove(id);
    assert.equal(gone.version, 2);
    await refused(remove(id), 404);
  }
  v2.close(); // unsubscribes in its own time, so the other generation gets a connection of its own
  await close();

  ({ client, close } = await connect(o));
  const v1 = first(iotshadow.IotShadowClient, client);
  const accepted = await collect(v1.subscribeToUpdateShadowAccepted.bind(v1), { thingName });
  const rejected = await collect(v1.subscribeToUpdateShadowRejected.bind(v1), { thingName });
  const deltas = await collect(v1.subscribeToShadowDeltaUpdatedEvents.bind(v1), { thingName });
  await v1.publishUpdateShadow({ thingName, clientToken: "t1", state: { desired: { on: true } } }, QOS1);
  assert.equal((await accepted.next("accepted")).clientToken, "t1");
  assert.deepEqual((await deltas.next("delta")).state, { on: true });
  await v1.publishUpdateShadow({ thingName, clientToken: "t2", state: { desired: { on: false } }, version: 999 }, QOS1);
  const error = await rejected.next("rejected");
  assert.deepEqual([error.code, error.clientToken], [409, "t2"]);
  await close();
}

async function jobs() {
  const thingName = o.clientId;
  let { client, close } = await connect(o);
  const v2 = second(iotjobs.IotJobsClientv2, client);
  const nexts = await stream(v2.createNextJobExecutionChangedStream({ thingName }));
  const changes = await stream(v2.createJobExecutionsChangedStream({ thingName }));

  let pending = await v2.getPendingJobExecutions({ thingName });
  assert.deepEqual([pending.queuedJobs, pending.inProgressJobs], [[], []]);
  assert.equal((await v2.startNextPendingJobExecution({ thingName })).execution?.jobId, undefined);
  await refused(v2.describeJobExecution({ thingName, jobId: "none" }), "ResourceNotFound");

  const [one, two] = [`update-1-${thingName}`, `update-2-${thingName}`];
  console.log("create update-1");
  const next = await nexts.next("notify-next");
  assert.equal(next.execution.jobId, one);
  assert.equal(next.execution.status, "QUEUED");
  assert.deepEqual(next.execution.jobDocument, { operation: "update-1" });
  const changed = await changes.next("notify");
  assert.deepEqual(changed.jobs.QUEUED.map((j) => j.jobId), [one]);

  const started = await v2.startNextPendingJobExecution({ thingName, statusDetails: { step: "download" }, stepTimeoutInMinutes: 5 });
  assert.equal(started.execution.jobId, one);
  assert.equal(started.execution.status, "IN_PROGRESS");
  assert.deepEqual(started.execution.statusDetails, { step: "download" });
  const { versionNumber } = started.execution;
  const described = await v2.describeJobExecution({ thingName, jobId: "$next", includeJobDocument: true });
  assert.deepEqual([described.execution.jobId, described.execution.versionNumber], [one, versionNumber]);
  await refused(v2.updateJobExecution({ thingName, jobId: one, status: "SUCCEEDED", expectedVersion: versionNumber + 5 }), "VersionMismatch");
  const ended = await v2.updateJobExecution({
    thingName, jobId: one, status: "SUCCEEDED", expectedVersion: versionNumber,
    statusDetails: { version: "2.0" }, includeJobExecutionState: true,
  });
  assert.equal(ended.executionState.status, "SUCCEEDED");
  await refused(v2.updateJobExecution({ thingName, jobId: one, status: "IN_PROGRESS" }), "InvalidStateTransition");
  assert.equal((await nexts.next("notify-next")).execution?.jobId, undefined);
  v2.close(); // unsubscribes in its own time, so the other generation gets a connection of its own
  await close();

  ({ client, close } = await connect(o));
  const v1 = first(iotjobs.IotJobsClient, client);
  const notified = await collect(v1.subscribeToNextJobExecutionChangedEvents.bind(v1), { thingName });
  const accepted = await collect(v1.subscribeToStartNextPendingJobExecutionAccepted.bind(v1), { thingName });
  const updated = await collect(v1.subscribeToUpdateJobExecutionAccepted.bind(v1), { thingName, jobId: two });
  const rejected = await collect(v1.subscribeToUpdateJobExecutionRejected.bind(v1), { thingName, jobId: two });
  console.log("create update-2");
  assert.equal((await notified.next("notify-next")).execution.jobId, two);
  await v1.publishStartNextPendingJobExecution({ thingName, clientToken: "a" }, QOS1);
  const start = await accepted.next("start-next accepted");
  assert.deepEqual([start.clientToken, start.execution.jobId], ["a", two]);
  await v1.publishUpdateJobExecution({ thingName, jobId: two, status: "FAILED", statusDetails: { why: "test" }, clientToken: "b" }, QOS1);
  assert.equal((await updated.next("update accepted")).clientToken, "b");
  await v1.publishUpdateJobExecution({ thingName, jobId: two, status: "SUCCEEDED", clientToken: "c" }, QOS1);
  const error = await rejected.next("update rejected");
  assert.deepEqual([error.code, error.clientToken], ["InvalidStateTransition", "c"]);
  await close();
}

/** works connects with a new identity, publishes and receives. */
async function works(thingName, cert, key) {
  const { client, close } = await connect({ ...o, clientId: thingName, cert, key });
  const got = new Inbox();
  const topic = `${thingName}/hello`;
  if (o.version === 5) {
    client.on("messageReceived", ({ message }) => got.put(message.topicName));
    await client.subscribe({ subscriptions: [{ topicFilter: topic, qos: QOS1 }] });
    await client.publish({ topicName: topic, payload: "x", qos: QOS1 });
  } else {
    await client.subscribe(topic, QOS1, (t) => got.put(t));
    await client.publish(topic, "x", QOS1);
  }
  assert.equal(await got.next("hello"), topic);
  await close();
}

async function identity() {
  let { client, close } = await connect(o);
  const v2 = second(iotidentity.IotIdentityClientv2, client);
  const { templateName } = o;

  const made = await v2.createKeysAndCertificate({});
  assert.match(made.privateKey, /^-----BEGIN RSA PRIVATE KEY-----/);
  const parameters = (serial) => ({ SerialNumber: `${serial}-${o.version}` });
  await refused(v2.registerThing({ templateName, certificateOwnershipToken: "guessed", parameters: parameters("1") }), "InvalidCertificateOwnershipToken");
  await refused(v2.registerThing({ templateName, certificateOwnershipToken: made.certificateOwnershipToken, parameters: {} }), "InvalidParameters");
  const registered = await v2.registerThing({ templateName, certificateOwnershipToken: made.certificateOwnershipToken, parameters: parameters("1") });
  assert.equal(registered.thingName, `fleet-1-${o.version}`);
  assert.deepEqual(registered.deviceConfiguration, { url: "https://example.com" });
  await refused(v2.registerThing({ templateName, certificateOwnershipToken: made.certificateOwnershipToken, parameters: parameters("1") }), "InvalidCertificateOwnershipToken");

  const signed = await v2.createCertificateFromCsr({ certificateSigningRequest: o.csr });
  assert.match(signed.certificateId, /^[0-9a-f]{64}$/);
  await refused(v2.createCertificateFromCsr({ certificateSigningRequest: "none" }), "InvalidParameters");
  await v2.registerThing({ templateName, certificateOwnershipToken: signed.certificateOwnershipToken, parameters: parameters("2") });
  v2.close(); // unsubscribes in its own time, so the other generation gets a connection of its own
  await close();

  ({ client, close } = await connect(o));
  const v1 = first(iotidentity.IotIdentityClient, client);
  const keys = await collect(v1.subscribeToCreateKeysAndCertificateAccepted.bind(v1), {});
  const things = await collect(v1.subscribeToRegisterThingAccepted.bind(v1), { templateName });
  const rejected = await collect(v1.subscribeToRegisterThingRejected.bind(v1), { templateName });
  await v1.publishCreateKeysAndCertificate({}, QOS1);
  const third = await keys.next("keys and certificate");
  await v1.publishRegisterThing({ templateName, certificateOwnershipToken: third.certificateOwnershipToken, parameters: parameters("3") }, QOS1);
  assert.equal((await things.next("thing")).thingName, `fleet-3-${o.version}`);
  await v1.publishRegisterThing({ templateName, certificateOwnershipToken: third.certificateOwnershipToken, parameters: parameters("3") }, QOS1);
  assert.equal((await rejected.next("refusal")).errorCode, "InvalidCertificateOwnershipToken");
  await close();

  const files = (name, cert, key) => {
    writeFileSync(`${o.dir}/${name}.pem`, cert, { mode: 0o600 });
    writeFileSync(`${o.dir}/${name}.key`, key, { mode: 0o600 });
    return [`${o.dir}/${name}.pem`, `${o.dir}/${name}.key`];
  };
  await works(`fleet-1-${o.version}`, ...files("first", made.certificatePem, made.privateKey));
  writeFileSync(`${o.dir}/second.pem`, signed.certificatePem);
  await works(`fleet-2-${o.version}`, `${o.dir}/second.pem`, o.csrKey);
  await works(`fleet-3-${o.version}`, ...files("third", third.certificatePem, third.privateKey));
}

await { shadow, jobs, identity }[o.service]();
console.log("done");
process.exit(0);
