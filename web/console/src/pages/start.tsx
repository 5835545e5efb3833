export default function P() { return <h1>start</h1>; }
