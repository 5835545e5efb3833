import{e as t}from"./chunk-CZDQK4BM.js";function i(n,e=5e3){t(()=>{let o=setInterval(()=>document.hidden||n(),e);return()=>clearInterval(o)},[e])}export{i as a};
