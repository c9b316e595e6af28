# A page of another origin cannot have a token fetched without CORS: by images,
# scripts, links, forms, fetch() with mode "no-cors". Browsers say so in
# Sec-Fetch-Site and Sec-Fetch-Mode. A POST of these has an Origin. front_door_browser.t asks a browser.

use lib 't/lib';
use Token tests => 67;

add_block_preprocessor(sub {
    my ($block) = @_;
    my $origin = $block->origin // 'https://a.example.com';
    my $line = $origin eq 'none' ? '' : "token_proxy_cors_origin $origin;";

    $block->set_value(request => 'GET /token') if !defined $block->request;
    $block->set_value(config => <<"END");
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;
            $line
        }
END

    if (defined $block->refused) {
        $block->set_value(error_code => 403);
        $block->set_value(response_body_like => '"error":"access_denied"');
        $block->set_value(error_log => 'page of another origin asks without CORS');
        $block->set_value(endpoint_calls => 0);
    } else {
        $block->set_value(endpoint_calls => 1);
    }
});

run_tests();

__DATA__

=== TEST 1: an image of another site is refused
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: no-cors
--- refused



=== TEST 2: an image of another host of the same site is refused
--- more_headers
Sec-Fetch-Site: same-site
Sec-Fetch-Mode: no-cors
--- refused



=== TEST 3: a link on another site is refused
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: navigate
Sec-Fetch-Dest: document
--- refused



=== TEST 4: another site, and no mode is refused
--- more_headers
Sec-Fetch-Site: cross-site
--- refused



=== TEST 5: another site, where no origin may call is refused
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: no-cors
--- origin chomp
none
--- refused



=== TEST 6: a mode that has another one's letters is refused
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: no-cors, cors
--- refused



=== TEST 7: an address that somebody has typed
--- more_headers
Sec-Fetch-Site: none
Sec-Fetch-Mode: navigate



=== TEST 8: an image of the same origin
--- more_headers
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: no-cors



=== TEST 9: another site by CORS, without Origin
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: cors



=== TEST 10: an allowed origin by CORS
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: cors
Origin: https://a.example.com



=== TEST 11: an allowed origin's form
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: navigate
Origin: https://a.example.com



=== TEST 12: an image of another site, where any origin may call
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: no-cors
--- origin chomp
*



=== TEST 13: no browser
--- more_headers
X-Client: 1



=== TEST 14: a POST without CORS, where no origin may call is refused
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: no-cors
Origin: https://b.example.com
--- request
POST /token
--- origin chomp
none
--- refused



=== TEST 15: a form, where no origin may call is refused
--- more_headers
Sec-Fetch-Site: same-site
Sec-Fetch-Mode: navigate
Origin: https://b.example.com
--- request
POST /token
--- origin chomp
none
--- refused



=== TEST 16: a request by CORS, where no origin may call: add_header may allow it
--- more_headers
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: cors
Origin: https://b.example.com
--- request
POST /token
--- origin chomp
none



=== TEST 17: a form of the same origin
--- more_headers
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: navigate
Origin: https://b.example.com
--- request
POST /token
--- origin chomp
none
