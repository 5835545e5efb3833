// One run of the AWS IoT Device SDK for JavaScript v2 against a server, told by the JSON in argv[2]:
//   version 3 | 5, host, port, ca, clientId, and either cert and key (files) or region, accessKeyId
//   and secretAccessKey (signed WebSocket); expect "accepted" | "refused".
// It checks as it goes and exits with 1 at the first surprise. After the messages it prints
// "restart", and then expects the server to have come back and the connection with it.
import assert from "node:assert/strict";
import { Inbox, five, settled, three } from "./connection.mjs";

const o = JSON.parse(process.argv[2]);
const text = (payload) => new TextDecoder().decode(payload);

/** Five speaks MQTT 5. */
class Five {
  inbox = new Inbox();
  constructor() {
    this.client = five(o);
    this.client.on("messageReceived", ({ message: m }) =>
      this.inbox.put({ topic: m.topicName, payload: text(m.payload), qos: m.qos, user: m.userProperties, content: m.contentType }));
    this.client.on("error", (e) => console.error("error", e.toString()));
  }
  connected() {
    return settled("connect", new Promise((resolve, reject) => {
      this.client.once("connectionSuccess", ({ connack, settings }) => resolve({ connack, settings }));
      this.client.once("connectionFailure", ({ error, connack }) => reject(Object.assign(new Error(error.toString()), { connack })));
    }));
  }
  connect() {
    const done = this.connected();
    this.client.start();
    return done;
  }
  back() {
    return settled("reconnect", new Promise((resolve) => this.client.once("connectionSuccess", resolve)));
  }
  async subscribe(filter, qos) {
    const ack = await settled("suback", this.client.subscribe({ subscriptions: [{ topicFilter: filter, qos }] }));
    return ack.reasonCodes[0];
  }
  async publish(topic, payload, qos) {
    const ack = await settled("puback", this.client.publish({
      topicName: topic, payload, qos, contentType: "text/plain",
      userProperties: [{ name: "a", value: "1" }, { name: "a", value: "2" }],
    }));
    if (qos === 1 && ack.reasonCode !== 0) throw new Error(`PUBACK ${ack.reasonCode}`);
  }
  checkMessage(m) {
    assert.equal(m.content, "text/plain");
    assert.deepEqual(m.user?.map((p) => [p.name, p.value]), [["a", "1"], ["a", "2"]]);
  }
  async close() {
    const stopped = settled("stop", new Promise((resolve) => this.client.once("stopped", resolve)));
    this.client.stop();
    await stopped;
    this.client.close();
  }
}

/** Three speaks MQTT 3.1.1. */
class Three {
  inbox = new Inbox();
  constructor() {
    this.connection = three(o);
    this.connection.on("message", (topic, payload, dup, qos) => this.inbox.put({ topic, payload: text(payload), qos }));
    this.connection.on("error", (e) => console.error("error", e.toString()));
  }
  connect() {
    return settled("connect", this.connection.connect());
  }
  back() {
    return settled("reconnect", new Promise((resolve) => this.connection.once("resume", resolve)));
  }
  async subscribe(filter, qos) {
    const ack = await settled("suback", this.connection.subscribe(filter, qos));
    return ack.error_code ? 0x80 : ack.qos;
  }
  async publish(topic, payload, qos) {
    await settled("puback", this.connection.publish(topic, payload, qos));
  }
  checkMessage() {}
  async close() {
    await settled("disconnect", this.connection.disconnect());
  }
}

const client = o.version === 5 ? new Five() : new Three();

if (o.expect === "refused") {
  await assert.rejects(client.connect(), (e) => {
    console.log(`refused ${e.connack?.reasonCode ?? e}`);
    return true;
  });
  process.exit(0);
}

const session = await client.connect();
if (o.version === 5) {
  assert.equal(session.connack.maximumQos, 1);
  assert.equal(session.connack.retainAvailable, true);
  assert.equal(session.connack.wildcardSubscriptionsAvailable, true);
  assert.equal(session.settings.clientId, o.clientId);
}
const own = `${o.clientId}/state`;
assert.equal(await client.subscribe(`${o.clientId}/#`, 1), 1);
for (const qos of [0, 1]) {
  await client.publish(own, `qos ${qos}`, qos);
  const m = await client.inbox.next(`message with QoS ${qos}`);
  assert.deepEqual([m.topic, m.payload, m.qos], [own, `qos ${qos}`, qos]);
  client.checkMessage(m);
}
if (o.cert) assert.ok((await client.subscribe("forbidden/#", 1)) >= 0x80, "a denied subscription was granted");
for (let i = 0; i < 200; i++) client.publish(own, `${i}`, 1).catch((e) => { console.error(e); process.exit(1); });
for (let i = 0; i < 200; i++) assert.equal((await client.inbox.next(`message ${i}`)).payload, `${i}`);

const back = client.back();
console.log("restart");
await back;
await client.subscribe(`${o.clientId}/#`, 1);
await client.publish(own, "again", 1);
let m;
do m = await client.inbox.next("message after the restart"); while (m.payload !== "again");
await client.close();
console.log("done");
process.exit(0);
