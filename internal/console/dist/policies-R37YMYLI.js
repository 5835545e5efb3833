import{a,b}from"./chunk-M4CWAAJE.js";import"./chunk-TB3HN6JU.js";import"./chunk-3FWJAX5V.js";import"./chunk-JYT75UQR.js";import"./chunk-SQE76S5B.js";export{a as default,b as listPolicies};
