import{a as v}from"./chunk-OD7GHQ5G.js";import{a as y,b as P}from"./chunk-XAT23YSU.js";import{n as u,o as n,q as l,v as c,w as h}from"./chunk-CZDQK4BM.js";var o=(e,...t)=>{let i=t.flatMap(m=>Array.from(m)),r=i.length,a=r<128?[r]:r<256?[129,r]:[130,r>>8,r&255];return[e,...a,...i]},s=(...e)=>o(48,...e),b=[6,3,85,4,3],C=[6,8,42,134,72,206,61,4,3,2];function A(e){let t=0;for(;t<e.length-1&&e[t]===0;)t++;let i=Array.from(e.subarray(t));return o(2,i[0]&128?[0,...i]:i)}function d(e,t){let i=btoa(Array.from(t,r=>String.fromCharCode(r)).join(""));return`-----BEGIN ${e}-----
${i.replace(/.{64}(?=.)/g,`$&
`)}
-----END ${e}-----
`}var $=()=>typeof crypto<"u"&&!!crypto.subtle;async function T(e){let t=await crypto.subtle.generateKey({name:"ECDSA",namedCurve:"P-256"},!0,["sign","verify"]),i=new Uint8Array(await crypto.subtle.exportKey("spki",t.publicKey)),r=new Uint8Array(await crypto.subtle.exportKey("pkcs8",t.privateKey)),a=s(o(49,s(b,o(12,new TextEncoder().encode(e.slice(0,64)))))),m=Uint8Array.from(s([2,1,0],a,i,[160,0])),g=new Uint8Array(await crypto.subtle.sign({name:"ECDSA",hash:"SHA-256"},t.privateKey,m)),E=s(A(g.subarray(0,32)),A(g.subarray(32))),S=s(m,s(C),o(3,[0],E));return{privateKeyPem:d("PRIVATE KEY",r),csrPem:d("CERTIFICATE REQUEST",S)}}var w="device-own-topics",F=/^[a-zA-Z0-9:_-]{1,128}$/;async function _(){let e=v((await h()).server);for(let t=1;;t++){let i=t===1?w:`${w}-${t}`;try{let r=await n.get(`/policies/${c(i)}`);if(I(r.policyDocument,e))return i}catch(r){if(!(r instanceof u)||r.status!==404)throw r;return await n.post(`/policies/${c(i)}`,{policyDocument:e}),i}}}function I(e,t){try{return JSON.stringify(JSON.parse(e))===JSON.stringify(JSON.parse(t))}catch{return!1}}async function G(e){let t=await h();try{throw await n.get(`/things/${c(e)}`),new Error(`There is a thing called ${e} already. Choose another name, or open it under Things and give it a further certificate.`)}catch(a){if(!(a instanceof u)||a.status!==404)throw a}let i=await _();await n.post(`/things/${c(e)}`,{});let r=await k(e);return await n.put(`/target-policies/${c(i)}`,{target:r.certificateArn}),await n.put(`/things/${c(e)}/principals`,void 0,{headers:{"x-amzn-principal":r.certificateArn}}),{...r,thing:e,caPem:t.certificateAuthorityPem,endpoint:t.server.endpoint,port:t.server.mqttPort}}async function k(e){if($()){let i=await T(e);return{...await n.post("/certificates",{certificateSigningRequest:i.csrPem},{query:{setAsActive:!0}}),privateKeyPem:i.privateKeyPem,madeHere:!0}}let t=await n.post("/keys-and-certificate",void 0,{query:{setAsActive:!0}});return{...t,privateKeyPem:t.keyPair.PrivateKey,madeHere:!1}}var p=e=>'"'+e.replace(/[\\"?]/g,"\\$&").replace(/[^ -~]/g,t=>t===`
`?"\\n":"")+'"',f=e=>e.trimEnd().split(`
`).map(t=>"    "+p(t+`
`)).join(`
`);function x(e){return`// Credentials of ${e.thing}. It holds a private key: keep it out of version control.
#pragma once

#include <pgmspace.h>

#define THINGNAME ${p(e.thing)}
#define AWS_IOT_ENDPOINT ${p(e.endpoint)}
#define AWS_IOT_PORT ${e.port}

static const char AWS_CERT_CA[] PROGMEM =
${f(e.caPem)};

static const char AWS_CERT_CRT[] PROGMEM =
${f(e.certificatePem)};

static const char AWS_CERT_PRIVATE[] PROGMEM =
${f(e.privateKeyPem)};
`}function K(e){return`// Says hello on ${e.thing}/hello every ten seconds, and prints what comes on ${e.thing}/in/#.
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
`}function O(e){return`// Settings of ${e.thing} for ESP-IDF. Embed the three PEM files in CMakeLists.txt:
//   idf_component_register(... EMBED_TXTFILES "certs/${e.thing}.cert.pem" "certs/${e.thing}.private.key" "certs/ca.pem")
#pragma once

#define CONFIG_AWS_IOT_MQTT_HOST ${p(e.endpoint)}
#define CONFIG_AWS_IOT_MQTT_PORT ${e.port}
#define CONFIG_AWS_EXAMPLE_CLIENT_ID ${p(e.thing)}
`}var R=e=>`${e.thing}

endpoint  ${e.endpoint}
port      ${e.port} (MQTT over TLS with the client certificate)
client    ${e.thing} (the client identifier must be the thing's name)

The policy lets it use the topics below ${e.thing}/, its shadows and its jobs.

Try it without a board:

  mosquitto_pub -h ${e.endpoint} -p ${e.port} --cafile certs/ca.pem --cert certs/${e.thing}.cert.pem \\
    --key certs/${e.thing}.private.key -i ${e.thing} -t ${e.thing}/hello -m '{"hello":"world"}' -q 1

arduino/   a sketch for Arduino-ESP32 with PubSubClient
esp-idf/   a header for ESP-IDF projects
certs/     the same as PEM files. The private key is in this archive and nowhere else.
`,H=e=>P({[`${e.thing}/README.txt`]:R(e),[`${e.thing}/certs/${e.thing}.cert.pem`]:e.certificatePem,[`${e.thing}/certs/${e.thing}.private.key`]:e.privateKeyPem,[`${e.thing}/certs/ca.pem`]:e.caPem,[`${e.thing}/arduino/${e.thing}/${e.thing}.ino`]:K(e),[`${e.thing}/arduino/${e.thing}/secrets.h`]:x(e),[`${e.thing}/esp-idf/berth_config.h`]:O(e)});async function L(e,t,i){let r=t==="spiffs"?{"certificate.pem.crt":e.certificatePem,"private.pem.key":e.privateKeyPem,"aws-root-ca.pem":e.caPem}:{"aws/cert":e.certificatePem,"aws/key":e.privateKeyPem,"aws/ca":e.caPem,"aws/endpoint":e.endpoint,"aws/thing":e.thing};return l.bytes("POST","/identity-images",{format:t,size:i,files:r})}function U(e,t){let i=e.replace(/:/g,"_");y(i,t)}export{$ as a,T as b,F as c,_ as d,G as e,x as f,H as g,L as h,U as i};
