import type { NextConfig } from "next";

const config: NextConfig = {
  reactStrictMode: true,
  output: "standalone",
  poweredByHeader: false,
  // Browsers ask for this one by themselves, before they have read what the page names.
  rewrites: async () => [{ source: "/favicon.ico", destination: "/icon.svg" }],
  devIndicators: false,
  // The development server answers localhost only, unless other names are listed.
  allowedDevOrigins: ["127.0.0.1"],
  // Without this, a lock file in some folder above would be taken for the root.
  turbopack: { root: import.meta.dirname },
  outputFileTracingRoot: import.meta.dirname,
};

export default config;
