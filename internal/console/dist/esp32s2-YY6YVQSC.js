import{a}from"./chunk-R35N7KHH.js";import"./chunk-JRTYYA2F.js";import"./chunk-DOJRVZBN.js";import"./chunk-SQE76S5B.js";export{a as ESP32S2ROM};
