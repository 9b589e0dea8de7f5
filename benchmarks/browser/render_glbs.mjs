// Draws GLB files with three.js in headless Chromium with software GL.
//
//   node benchmarks/browser/render_glbs.mjs NODE_MODULES JOB.json
//
// NODE_MODULES holds `three` and `playwright-core`. The job: `chromium` (path), `size`, and `pictures`, a list of
// {glb, png, yaw, pitch, mode: "shaded" | "sides"}. Prints one line of JSON a picture: its counts, or the error.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const modules = path.resolve(process.argv[2]);
const job = JSON.parse(fs.readFileSync(process.argv[3], 'utf8'));
const page_file = path.join(path.dirname(fileURLToPath(import.meta.url)), 'page.html');
const { chromium } = createRequire(pathToFileURL(path.join(modules, 'here.js')))('playwright-core');
const KINDS = { '.js': 'text/javascript', '.html': 'text/html', '.glb': 'model/gltf-binary' };

const server = http.createServer((request, response) => {
  const name = decodeURIComponent(new URL(request.url, 'http://x').pathname);
  let file = null;
  if (name === '/') file = page_file;
  else if (name.startsWith('/modules/')) file = path.join(modules, path.normalize(name.slice('/modules/'.length)));
  else if (name.startsWith('/glb/')) file = job.pictures[Number(name.slice('/glb/'.length).split('.')[0])]?.glb;
  if (!file || !fs.existsSync(file)) { response.writeHead(404).end(); return; }
  response.writeHead(200, { 'content-type': KINDS[path.extname(file)] ?? 'application/octet-stream' });
  fs.createReadStream(file).pipe(response);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const browser = await chromium.launch({
  executablePath: job.chromium,
  args: ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'],
});
const page = await browser.newPage();
const complaints = [];
page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
page.on('pageerror', (error) => complaints.push(String(error)));
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.waitForFunction('window.ready === true', null, { timeout: 120000 });
for (const [i, item] of job.pictures.entries()) {
  complaints.length = 0;
  try {
    const draw = ([url, size, yaw, pitch, mode]) => window.draw(url, size, yaw, pitch, mode);
    const what = [`/glb/${i}.glb`, job.size, item.yaw, item.pitch, item.mode];
    const { image, counts, extent } = await page.evaluate(draw, what);
    fs.writeFileSync(item.png, Buffer.from(image.split(',')[1], 'base64'));
    console.log(JSON.stringify({ glb: item.glb, ...counts, extent, complaints: [...complaints] }));
  } catch (error) {
    console.log(JSON.stringify({ glb: item.glb, error: String(error).slice(0, 500) }));
  }
}
await browser.close();
server.close();
