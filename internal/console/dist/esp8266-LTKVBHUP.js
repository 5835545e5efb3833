import{a}from"./chunk-2OXE6NKJ.js";import"./chunk-DOJRVZBN.js";import"./chunk-SQE76S5B.js";export{a as ESP8266ROM};
