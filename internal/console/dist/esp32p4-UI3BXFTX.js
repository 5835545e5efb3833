import{a}from"./chunk-JPB7OFO5.js";import"./chunk-JRTYYA2F.js";import"./chunk-DOJRVZBN.js";import"./chunk-SQE76S5B.js";export{a as ESP32P4ROM};
