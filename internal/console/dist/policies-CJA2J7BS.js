import{a,b}from"./chunk-HDBBE5IO.js";import"./chunk-ONLQNDKC.js";import"./chunk-5SJ7HE2I.js";import"./chunk-5ZIHGAJN.js";export{a as default,b as listPolicies};
