import{a,b}from"./chunk-HDBBE5IO.js";import"./chunk-ONLQNDKC.js";import"./chunk-5SJ7HE2I.js";import"./chunk-5ZIHGAJN.js";import"./chunk-SQE76S5B.js";export{a as default,b as listPolicies};
