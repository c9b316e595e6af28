# An nginx whose proxy module, or one of its like, has another table of
# directives than the module knows: "nginx -t" says so, and nothing is written
# where a directive once was. The tables are changed by t/directives/change.c.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Token::Cache;
use Token::Server;
use Token::Util qw($MODULE build_module configured work_dir);

plan(skip_all => "no configured nginx beside $MODULE") if !configured();

my $token = location('token', 'https://localhost:1/');

# What is looked up, and in what configuration.
my @proxy = qw(proxy_pass proxy_method proxy_http_version);
my @proxy_fields = qw(proxy_set_header proxy_set_body proxy_ssl_trusted_certificate);
my %field = (grpc => 'grpc_set_header',
    map { ($_ => "${_}_param") } qw(fastcgi uwsgi scgi));
my @cases;

for my $name (@proxy, @proxy_fields) {
    push @cases, ['proxy', $name, $_, '', qr/no directive/] for qw(name conf);
}

push @cases, ['proxy', $_, 'set', '', qr/another type of directive/]
    for @proxy_fields;

push @cases, ['proxy', 'proxy_pass', 'set', '', qr/no content handler for/];

for my $module (sort keys %field) {
    my $bearer = "location / { token_proxy_bearer /token; ${module}_pass 127.0.0.1:1; }";

    push @cases, [$module, "${module}_pass", $_, $bearer, qr/no directive/],
        [$module, $field{$module}, $_, $bearer, qr/no directive/] for qw(name conf);
    push @cases,
        [$module, "${module}_pass", 'set', $bearer, qr/no content handler for/],
        [$module, $field{$module}, 'set', $bearer, qr/another type of directive/];
}

die "few cases\n" if @cases < 30;
plan(tests => 4 * @cases + 7);


my $dir = work_dir();
my $output = build_module('directives/change.c', "$dir/change.so");

is($output, '', 'the module that changes directives is built');

my $nginx = Token::Server->new(main => "load_module $dir/change.so;");


# nothing is changed
my $all = 'location / { token_proxy_bearer /token; proxy_pass http://127.0.0.1:1; }'
    . join '', map { "location /$_/ { token_proxy_bearer /token; "
        . "${_}_pass 127.0.0.1:1; }" } sort keys %field;

my ($status, $said) = nginx_t($token . $all);

is($status, 0, 'nginx as it is: the configuration is good') or diag($said);


for (@cases) {
    my ($module, $name, $what, $config, $message) = @$_;

    ($status, $said) = nginx_t($token . $config
        . "change_directive ngx_http_${module}_module $name $what;");

    my @lines = $said =~ /^nginx: (\[emerg\].*)$/mg;

    is($status, 1, "$name has another $what: nginx -t fails");
    is(scalar(@lines), 1, '... with one line') or diag($said);
    like($lines[0], $message, '... that says what is wrong');
    like($lines[0], qr/"\Q$name\E" of "ngx_http_${module}_module" in \S+nginx\.conf:\d+$/,
        '... and what it is about');
}


# what is not needed is not looked for
for (
    ['proxy_ssl_trusted_certificate', 'proxy', location('token', 'http://127.0.0.1:1/')],
    ['fastcgi_pass', 'fastcgi', $token],
    ['grpc_set_header', 'grpc', $token . 'location / { token_proxy_bearer /token; proxy_pass http://127.0.0.1:1; }'],
    ['proxy_pass', 'proxy', 'location / { proxy_pass http://127.0.0.1:1; }'],
    ['proxy_set_header', 'proxy', 'token_proxy_bearer /none;'],
) {
    my ($name, $module, $config) = @$_;

    ($status, $said) = nginx_t($config
        . "change_directive ngx_http_${module}_module $name name;");
    is($status, 0, "$name has another name, and is not needed") or diag($said);
}


sub nginx_t {
    return $nginx->configure(http => zone(), server => $_[0])->test;
}
