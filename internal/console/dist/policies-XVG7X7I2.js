import{g as o}from"./chunk-CIRYA6SR.js";function e(){return o("h1",{children:"policies"})}export{e as default};
