// A plain MQTT 5 client of the AWS IoT Device SDK v2 for the recorder of wire_test.go, told by the JSON
// in argv[2]: host, port. It subscribes, publishes two messages of QoS 1, and stops when it is told to.
import sdk from "aws-iot-device-sdk-v2";

const { mqtt5 } = sdk;
const o = JSON.parse(process.argv[2]);
const client = new mqtt5.Mqtt5Client({
  hostName: o.host,
  port: o.port,
  sessionBehavior: mqtt5.ClientSessionBehavior.RejoinPostSuccess,
  connectProperties: { clientId: "wire", keepAliveIntervalSeconds: 120, sessionExpiryIntervalSeconds: 3600 },
});
client.on("error", () => {});
client.once("connectionSuccess", () => {
  client.subscribe({ subscriptions: [{ topicFilter: "wire/in", qos: 1 }] }).catch(() => {});
  for (const payload of ["1", "2"]) {
    client.publish({ topicName: "wire/out", qos: 1, payload }).catch(() => {});
  }
});
client.on("messageReceived", ({ message }) => {
  if (Buffer.from(message.payload).toString() === "stop") {
    client.stop();
  }
});
client.once("stopped", () => {
  client.close();
  process.exit(0);
});
client.start();
