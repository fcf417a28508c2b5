import Link from "next/link";

export default function NotFound() {
  return (
    <main className="message">
      <h1>Page not found</h1>
      <p>
        <Link href="/">All listings</Link>
      </p>
    </main>
  );
}
