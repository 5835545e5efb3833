import{g as h}from"./chunk-CIRYA6SR.js";function n(){return h("h1",{children:"things"})}export{n as default};
