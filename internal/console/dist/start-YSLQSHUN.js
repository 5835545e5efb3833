import{g as t}from"./chunk-CIRYA6SR.js";function f(){return t("h1",{children:"start"})}export{f as default};
