export default function P() { return <h1>things</h1>; }
