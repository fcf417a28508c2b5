import Link from "next/link";

export default function NotFound() {
  return (
    <main className="message">
      <h1>No such page</h1>
      <p>
        <Link href="/">To all listings</Link>
      </p>
    </main>
  );
}
