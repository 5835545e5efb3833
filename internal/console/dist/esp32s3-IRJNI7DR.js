import{a}from"./chunk-Z4NJZKAH.js";import"./chunk-JRTYYA2F.js";import"./chunk-DOJRVZBN.js";import"./chunk-SQE76S5B.js";export{a as ESP32S3ROM};
