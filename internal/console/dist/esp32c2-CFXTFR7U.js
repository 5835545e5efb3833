import{a}from"./chunk-WETQLJVH.js";import"./chunk-6B34WMAP.js";import"./chunk-JRTYYA2F.js";import"./chunk-DOJRVZBN.js";import"./chunk-SQE76S5B.js";export{a as ESP32C2ROM};
