import{g as n}from"./chunk-CIRYA6SR.js";function t(){return n("h1",{children:"client"})}export{t as default};
