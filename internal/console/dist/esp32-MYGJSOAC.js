import{a}from"./chunk-JRTYYA2F.js";import"./chunk-DOJRVZBN.js";import"./chunk-SQE76S5B.js";export{a as ESP32ROM};
