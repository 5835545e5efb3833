import{a,b}from"./chunk-UKLYE3YT.js";import"./chunk-OD7GHQ5G.js";import"./chunk-4BM6KX4W.js";import"./chunk-CZDQK4BM.js";import"./chunk-SQE76S5B.js";export{a as default,b as listPolicies};
