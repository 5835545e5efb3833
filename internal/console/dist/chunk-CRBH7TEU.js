import{a as A,b as w,c as S,d as b}from"./chunk-SOVIC22C.js";import{a as $}from"./chunk-TB3HN6JU.js";import{j as d,k as g,m as h,n as r,p as v,u as c,v as l}from"./chunk-JYT75UQR.js";var o=(e,...t)=>{let i=t.flatMap(f=>Array.from(f)),n=i.length,s=n<128?[n]:n<256?[129,n]:[130,n>>8,n&255];return[e,...s,...i]},a=(...e)=>o(48,...e),M=[6,3,85,4,3],K=[6,8,42,134,72,206,61,4,3,2];function T(e){let t=0;for(;t<e.length-1&&e[t]===0;)t++;let i=Array.from(e.subarray(t));return o(2,i[0]&128?[0,...i]:i)}function E(e,t){let i=btoa(Array.from(t,n=>String.fromCharCode(n)).join(""));return`-----BEGIN ${e}-----
${i.replace(/.{64}(?=.)/g,`$&
`)}
-----END ${e}-----
`}var C=()=>typeof crypto<"u"&&!!crypto.subtle;async function _(e){let t=await crypto.subtle.generateKey({name:"ECDSA",namedCurve:"P-256"},!0,["sign","verify"]),i=new Uint8Array(await crypto.subtle.exportKey("spki",t.publicKey)),n=new Uint8Array(await crypto.subtle.exportKey("pkcs8",t.privateKey)),s=a(o(49,a(M,o(12,new TextEncoder().encode(e.slice(0,64)))))),f=Uint8Array.from(a([2,1,0],s,i,[160,0])),P=new Uint8Array(await crypto.subtle.sign({name:"ECDSA",hash:"SHA-256"},t.privateKey,f)),x=a(T(P.subarray(0,32)),T(P.subarray(32))),k=a(f,a(K),o(3,[0],x));return{privateKeyPem:E("PRIVATE KEY",n),csrPem:E("CERTIFICATE REQUEST",k)}}var I="device-own-topics",z=/^[a-zA-Z0-9:_-]{1,128}$/;async function O(){let e=$((await l()).server);for(let t=1;;t++){let i=t===1?I:`${I}-${t}`;try{let n=await r.get(`/policies/${c(i)}`);if(R(n.policyDocument,e))return i}catch(n){if(!(n instanceof h)||n.status!==404)throw n;return await r.post(`/policies/${c(i)}`,{policyDocument:e}),i}}}function R(e,t){try{return JSON.stringify(JSON.parse(e))===JSON.stringify(JSON.parse(t))}catch{return!1}}async function B(e){let t=await l();try{throw await r.get(`/things/${c(e)}`),new Error(`There is a thing called ${e} already. Choose another name, or open it under Things and give it a further certificate.`)}catch(s){if(!(s instanceof h)||s.status!==404)throw s}let i=await O();await r.post(`/things/${c(e)}`,{});let n=await N(e);return await r.put(`/target-policies/${c(i)}`,{target:n.certificateArn}),await r.put(`/things/${c(e)}/principals`,void 0,{headers:{"x-amzn-principal":n.certificateArn}}),{...n,thing:e,caPem:t.certificateAuthorityPem,endpoint:t.server.endpoint,port:t.server.mqttPort}}async function N(e){if(C()){let i=await _(e);return{...await r.post("/certificates",{certificateSigningRequest:i.csrPem},{query:{setAsActive:!0}}),privateKeyPem:i.privateKeyPem,madeHere:!0}}let t=await r.post("/keys-and-certificate",void 0,{query:{setAsActive:!0}});return{...t,privateKeyPem:t.keyPair.PrivateKey,madeHere:!1}}var p=e=>'"'+e.replace(/[\\"?]/g,"\\$&").replace(/[^ -~]/g,t=>t===`
`?"\\n":"")+'"',y=e=>e.trimEnd().split(`
`).map(t=>"    "+p(t+`
`)).join(`
`);function D(e){return`// Credentials of ${e.thing}. It holds a private key: keep it out of version control.
#pragma once

#include <pgmspace.h>

#define THINGNAME ${p(e.thing)}
#define AWS_IOT_ENDPOINT ${p(e.endpoint)}
#define AWS_IOT_PORT ${e.port}

static const char AWS_CERT_CA[] PROGMEM =
${y(e.caPem)};

static const char AWS_CERT_CRT[] PROGMEM =
${y(e.certificatePem)};

static const char AWS_CERT_PRIVATE[] PROGMEM =
${y(e.privateKeyPem)};
`}function W(e){return`// Says hello on ${e.thing}/hello every ten seconds, and prints what comes on ${e.thing}/in/#.
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
`}function q(e){return`// Settings of ${e.thing} for ESP-IDF. Embed the three PEM files in CMakeLists.txt:
//   idf_component_register(... EMBED_TXTFILES "certs/${e.thing}.cert.pem" "certs/${e.thing}.private.key" "certs/ca.pem")
#pragma once

#define CONFIG_AWS_IOT_MQTT_HOST ${p(e.endpoint)}
#define CONFIG_AWS_IOT_MQTT_PORT ${e.port}
#define CONFIG_AWS_EXAMPLE_CLIENT_ID ${p(e.thing)}
`}var F=e=>`${e.thing}

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
`,J=e=>w({[`${e.thing}/README.txt`]:F(e),[`${e.thing}/certs/${e.thing}.cert.pem`]:e.certificatePem,[`${e.thing}/certs/${e.thing}.private.key`]:e.privateKeyPem,[`${e.thing}/certs/ca.pem`]:e.caPem,[`${e.thing}/arduino/${e.thing}/${e.thing}.ino`]:W(e),[`${e.thing}/arduino/${e.thing}/secrets.h`]:D(e),[`${e.thing}/esp-idf/berth_config.h`]:q(e)});async function Q(e,t,i){let n=t==="spiffs"?{"certificate.pem.crt":e.certificatePem,"private.pem.key":e.privateKeyPem,"aws-root-ca.pem":e.caPem}:{"aws/cert":e.certificatePem,"aws/key":e.privateKeyPem,"aws/ca":e.caPem,"aws/endpoint":e.endpoint,"aws/thing":e.thing};return v.bytes("POST","/identity-images",{format:t,size:i,files:n})}function V(e,t){let i=e.replace(/:/g,"_");A(i,t)}var m=new Map,u=new S("live",e=>{for(let[t,i]of m)if(b(t,e.topic))for(let n of i)n(e)}),te=u.state;function ie(e,t){let i=m.get(e);return i||(m.set(e,i=new Set),u.open(),u.subscribe(e,0).catch(()=>{})),i.add(t),()=>{i.delete(t),!(i.size||m.get(e)!==i)&&(m.delete(e),u.unsubscribe(e).catch(()=>{}))}}d(()=>{g.value&&!g.value.signedIn&&u.close()});export{C as a,_ as b,z as c,O as d,B as e,D as f,J as g,Q as h,V as i,ie as j};
