import type { NextConfig } from "next";

const config: NextConfig = {
  reactStrictMode: true,
  output: "standalone",
  poweredByHeader: false,
  // Browsers request this path by themselves, before they parse the page's own icon link.
  rewrites: async () => [{ source: "/favicon.ico", destination: "/icon.svg" }],
  devIndicators: false,
  // The development server rejects other origins than localhost, unless they are listed.
  allowedDevOrigins: ["127.0.0.1"],
  // Next.js would else take a parent folder with a lock file for the root.
  turbopack: { root: import.meta.dirname },
  outputFileTracingRoot: import.meta.dirname,
};

export default config;
