export default function P() { return <h1>policies</h1>; }
