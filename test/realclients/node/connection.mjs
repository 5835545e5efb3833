// What the scripts share: how to build a client of the AWS IoT Device SDK for JavaScript v2 from
// the options that they are told, and how to wait.
import sdk from "aws-iot-device-sdk-v2";

const { auth, io, iot, mqtt, mqtt5 } = sdk;
const patience = 30_000;

/** settled rejects a promise that takes too long. */
export function settled(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Inbox collects messages and lets one wait for the next. */
export class Inbox {
  messages = [];
  waiting = [];
  put(m) {
    const w = this.waiting.shift();
    w ? w(m) : this.messages.push(m);
  }
  next(what) {
    if (this.messages.length > 0) return this.messages.shift();
    return settled(what, new Promise((resolve) => this.waiting.push(resolve)));
  }
}

/** five returns an MQTT 5 client that has not been started. */
export function five(o) {
  let b;
  if (o.cert) {
    b = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(o.host, o.cert, o.key);
  } else {
    b = iot.AwsIotMqtt5ClientConfigBuilder.newWebsocketMqttBuilderWithSigv4Auth(o.host, {
      region: o.region,
      credentialsProvider: auth.AwsCredentialsProvider.newStatic(o.accessKeyId, o.secretAccessKey),
    });
  }
  b.withCertificateAuthorityFromPath(undefined, o.ca);
  b.withPort(o.port);
  b.withConnectProperties({ clientId: o.clientId, keepAliveIntervalSeconds: 60 });
  b.withMinReconnectDelayMs(100).withMaxReconnectDelayMs(500);
  return new mqtt5.Mqtt5Client(b.build());
}

/** three returns an MQTT 3.1.1 connection that has not been made. */
export function three(o) {
  let b;
  if (o.cert) {
    b = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(o.cert, o.key);
  } else {
    b = iot.AwsIotMqttConnectionConfigBuilder.new_with_websockets({
      region: o.region,
      credentials_provider: auth.AwsCredentialsProvider.newStatic(o.accessKeyId, o.secretAccessKey),
    });
  }
  b.with_certificate_authority_from_path(undefined, o.ca);
  b.with_endpoint(o.host).with_port(o.port).with_client_id(o.clientId).with_clean_session(true);
  b.with_keep_alive_seconds(60).with_reconnect_min_sec(1).with_reconnect_max_sec(1);
  return new mqtt.MqttClient(new io.ClientBootstrap()).new_connection(b.build());
}
