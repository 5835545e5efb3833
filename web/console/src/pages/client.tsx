export default function P() { return <h1>client</h1>; }
