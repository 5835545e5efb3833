// Making a device: thing, certificate and policy in one go, and the files that it needs.
import { ApiError, berth, iot, seg, server } from './api';
import { download, zip } from './files';
import { canMakeKeys, makeKey } from './keys';
import { leastPrivilege } from './policy';

const policyName = 'device-own-topics';

export interface Device {
  thing: string;
  certificateId: string;
  certificateArn: string;
  certificatePem: string;
  privateKeyPem: string;
  madeHere: boolean; // the key was made in this browser
  caPem: string;
  endpoint: string;
  port: number;
}

export const namePattern = /^[a-zA-Z0-9:_-]{1,128}$/;

/** ensurePolicy makes the least-privilege policy that fits every device, or finds it, and returns its name. */
export async function ensurePolicy(): Promise<string> {
  const document = leastPrivilege((await server()).server);
  for (let n = 1; ; n++) {
    const name = n === 1 ? policyName : `${policyName}-${n}`;
    try {
      const have = await iot.get<{ policyDocument: string }>(`/policies/${seg(name)}`);
      if (same(have.policyDocument, document)) return name;
    } catch (e) {
      if (!(e instanceof ApiError) || e.status !== 404) throw e;
      await iot.post(`/policies/${seg(name)}`, { policyDocument: document });
      return name;
    }
  }
}

function same(a: string, b: string): boolean {
  try {
    return JSON.stringify(JSON.parse(a)) === JSON.stringify(JSON.parse(b));
  } catch {
    return false;
  }
}

export async function makeDevice(thing: string): Promise<Device> {
  const info = await server();
  try {
    await iot.get(`/things/${seg(thing)}`);
    throw new Error(`There is a thing called ${thing} already. Choose another name, or open it under Things and give it a further certificate.`);
  } catch (e) {
    if (!(e instanceof ApiError) || e.status !== 404) throw e;
  }
  const policy = await ensurePolicy();
  await iot.post(`/things/${seg(thing)}`, {});
  const made = await makeCertificate(thing);
  await iot.put(`/target-policies/${seg(policy)}`, { target: made.certificateArn });
  await iot.put(`/things/${seg(thing)}/principals`, undefined, { headers: { 'x-amzn-principal': made.certificateArn } });
  return { ...made, thing, caPem: info.certificateAuthorityPem, endpoint: info.server.endpoint, port: info.server.mqttPort };
}

type Certificate = Pick<Device, 'certificateId' | 'certificateArn' | 'certificatePem' | 'privateKeyPem' | 'madeHere'>;

async function makeCertificate(thing: string): Promise<Certificate> {
  type Made = { certificateId: string; certificateArn: string; certificatePem: string; keyPair?: { PrivateKey: string } };
  if (canMakeKeys()) {
    const key = await makeKey(thing);
    const m = await iot.post<Made>('/certificates', { certificateSigningRequest: key.csrPem }, { query: { setAsActive: true } });
    return { ...m, privateKeyPem: key.privateKeyPem, madeHere: true };
  }
  const m = await iot.post<Made>('/keys-and-certificate', undefined, { query: { setAsActive: true } });
  return { ...m, privateKeyPem: m.keyPair!.PrivateKey, madeHere: false };
}

const cString = (s: string) => '"' + s.replace(/[\\"?]/g, '\\$&').replace(/[^ -~]/g, (c) => (c === '\n' ? '\\n' : '')) + '"';
const cLines = (pem: string) => pem.trimEnd().split('\n').map((l) => '    ' + cString(l + '\n')).join('\n');

/** header is a C header for Arduino sketches. */
export function header(d: Device): string {
  return `// Credentials of ${d.thing}. It holds a private key: keep it out of version control.
#pragma once

#include <pgmspace.h>

#define THINGNAME ${cString(d.thing)}
#define AWS_IOT_ENDPOINT ${cString(d.endpoint)}
#define AWS_IOT_PORT ${d.port}

static const char AWS_CERT_CA[] PROGMEM =
${cLines(d.caPem)};

static const char AWS_CERT_CRT[] PROGMEM =
${cLines(d.certificatePem)};

static const char AWS_CERT_PRIVATE[] PROGMEM =
${cLines(d.privateKeyPem)};
`;
}

/** sketch is an Arduino program for the PubSubClient library that says hello. */
function sketch(d: Device): string {
  return `// Says hello on ${d.thing}/hello every ten seconds, and prints what comes on ${d.thing}/in/#.
// Libraries: PubSubClient. Board: any ESP32.
#include <WiFi.h>
#include <WiFiClientSecure.h>
#include <PubSubClient.h>
#include <time.h>
#include "secrets.h"

const char *ssid = "YOUR-WIFI";
const char *password = "YOUR-WIFI-PASSWORD";

WiFiClientSecure net;
PubSubClient mqtt(net);

void received(char *topic, byte *payload, unsigned int length) {
  Serial.printf("%s: %.*s\\n", topic, (int)length, (const char *)payload);
}

void setup() {
  Serial.begin(115200);
  WiFi.begin(ssid, password);
  while (WiFi.status() != WL_CONNECTED) delay(200);
  // Certificates have dates: the chip must know the time before it connects.
  configTime(0, 0, "pool.ntp.org");
  while (time(nullptr) < 1700000000) delay(200);
  net.setCACert(AWS_CERT_CA);
  net.setCertificate(AWS_CERT_CRT);
  net.setPrivateKey(AWS_CERT_PRIVATE);
  mqtt.setServer(AWS_IOT_ENDPOINT, AWS_IOT_PORT);
  mqtt.setBufferSize(1024);
  mqtt.setCallback(received);
}

void loop() {
  static unsigned long last = 0;
  if (!mqtt.connected()) {
    if (!mqtt.connect(THINGNAME)) {
      Serial.printf("not connected: %d\\n", mqtt.state());
      delay(3000);
      return;
    }
    mqtt.subscribe(THINGNAME "/in/#");
  }
  mqtt.loop();
  if (millis() - last > 10000) {
    last = millis();
    mqtt.publish(THINGNAME "/hello", "{\\"uptime\\": 1}");
  }
}
`;
}

/** config is a header for ESP-IDF projects that embed the PEM files. */
function config(d: Device): string {
  return `// Settings of ${d.thing} for ESP-IDF. Embed the three PEM files in CMakeLists.txt:
//   idf_component_register(... EMBED_TXTFILES "certs/${d.thing}.cert.pem" "certs/${d.thing}.private.key" "certs/ca.pem")
#pragma once

#define CONFIG_AWS_IOT_MQTT_HOST ${cString(d.endpoint)}
#define CONFIG_AWS_IOT_MQTT_PORT ${d.port}
#define CONFIG_AWS_EXAMPLE_CLIENT_ID ${cString(d.thing)}
`;
}

const readme = (d: Device) => `${d.thing}

endpoint  ${d.endpoint}
port      ${d.port} (MQTT over TLS with the client certificate)
client    ${d.thing} (the client identifier must be the thing's name)

The policy lets it use the topics below ${d.thing}/, its shadows and its jobs.

Try it without a board:

  mosquitto_pub -h ${d.endpoint} -p ${d.port} --cafile certs/ca.pem --cert certs/${d.thing}.cert.pem \\
    --key certs/${d.thing}.private.key -i ${d.thing} -t ${d.thing}/hello -m '{"hello":"world"}' -q 1

arduino/   a sketch for Arduino-ESP32 with PubSubClient
esp-idf/   a header for ESP-IDF projects
certs/     the same as PEM files. The private key is in this archive and nowhere else.
`;

export const archive = (d: Device) => zip({
  [`${d.thing}/README.txt`]: readme(d),
  [`${d.thing}/certs/${d.thing}.cert.pem`]: d.certificatePem,
  [`${d.thing}/certs/${d.thing}.private.key`]: d.privateKeyPem,
  [`${d.thing}/certs/ca.pem`]: d.caPem,
  [`${d.thing}/arduino/${d.thing}/${d.thing}.ino`]: sketch(d),
  [`${d.thing}/arduino/${d.thing}/secrets.h`]: header(d),
  [`${d.thing}/esp-idf/berth_config.h`]: config(d),
});

/** image asks the server for a flash partition; it keeps nothing of what it is sent. */
export async function image(d: Device, format: 'spiffs' | 'nvs', size: number): Promise<Uint8Array> {
  const files: Record<string, string> = format === 'spiffs'
    ? { 'certificate.pem.crt': d.certificatePem, 'private.pem.key': d.privateKeyPem, 'aws-root-ca.pem': d.caPem }
    : { 'aws/cert': d.certificatePem, 'aws/key': d.privateKeyPem, 'aws/ca': d.caPem, 'aws/endpoint': d.endpoint, 'aws/thing': d.thing };
  return berth.bytes('POST', '/identity-images', { format, size, files });
}

export function save(name: string, content: Uint8Array | string): void {
  const safe = name.replace(/:/g, '_');
  download(safe, content);
}
