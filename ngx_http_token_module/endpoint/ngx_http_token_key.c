
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The identity of a token request: a SHA-256 of everything that decides which
 * token comes back.
 */


#include "ngx_http_token_endpoint.h"


static ngx_int_t ngx_http_token_key_init_identity(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_int_t ngx_http_token_key_init_files(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static size_t ngx_http_token_key_file(u_char **p, char *what, ngx_str_t *name,
    ngx_http_token_watch_t *file);
static size_t ngx_http_token_key_name(u_char **p, char *what, ngx_str_t *name,
    ngx_str_t *value);
static size_t ngx_http_token_key_files(u_char *p,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_int_t ngx_http_token_key_init_inputs(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf);
static ngx_int_t ngx_http_token_key_value(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_value_t *value);
static ngx_int_t ngx_http_token_key_complex(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_complex_value_t *complex);
static ngx_int_t ngx_http_token_key_input(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_value_t *value, ngx_http_complex_value_t *complex);
static u_char *ngx_http_token_key_made(ngx_http_token_request_t *request);
static ngx_int_t ngx_http_token_key_digest(u_char *digest,
    ngx_http_token_request_t *request, ngx_str_t *extra);
static ngx_int_t ngx_http_token_key_tokens(EVP_MD_CTX *md,
    ngx_http_token_request_t *request);


char *
ngx_http_token_key_init(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_str_t   *field;
    ngx_uint_t   i;

    field = tlcf->fields->elts;

    ngx_crc32_init(tlcf->fields_hash);

    for (i = 0; i < tlcf->fields->nelts; i++) {

        /* the NUL that ends each name is part of the sum */

        ngx_crc32_update(&tlcf->fields_hash, field[i].data, field[i].len + 1);
    }

    ngx_crc32_final(tlcf->fields_hash);

    if (ngx_http_token_key_init_identity(cf, tlcf) != NGX_OK
        || ngx_http_token_key_init_files(cf, tlcf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return tlcf->chained ? NGX_CONF_OK
                         : ngx_http_token_key_init_digest(cf, tlcf);
}


char *
ngx_http_token_key_init_digest(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_str_t  extra;

    ngx_str_null(&extra);

    if (!tlcf->constant || (tlcf->cache.key && tlcf->cache.key->lengths)) {
        return (ngx_http_token_key_init_inputs(cf, tlcf) == NGX_OK)
               ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    tlcf->plain = (tlcf->cache.zone && tlcf->cache.bypass == NULL);

    if (tlcf->cache.key) {
        extra = tlcf->cache.key->value;
    }

    tlcf->digest = ngx_pnalloc(cf->pool, NGX_HTTP_TOKEN_DIGEST_LEN);
    if (tlcf->digest == NULL) {
        return NGX_CONF_ERROR;
    }

    return (ngx_http_token_key_digest(tlcf->digest, &tlcf->request, &extra)
            == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/*
 * Adds the form in which parameters are sent, where an answer has its members,
 * which decides what is stored, and how long that may be; nothing, if none of
 * it is configured.
 */

static ngx_int_t
ngx_http_token_key_init_identity(ngx_conf_t *cf,
    ngx_http_token_loc_conf_t *tlcf)
{
    u_char                 *p;
    size_t                  len;
    ngx_str_t              *identity;
    ngx_uint_t              i, n;
    ngx_http_token_path_t  *path;

    n = tlcf->paths ? tlcf->paths->nelts : 0;
    path = tlcf->paths ? tlcf->paths->elts : NULL;

    if (n == 0 && tlcf->format == NGX_HTTP_TOKEN_FORMAT_FORM
        && tlcf->cache.max_ttl == 0)
    {
        return NGX_OK;
    }

    identity = &tlcf->auth.identity;

    len = identity->len + 2;

    for (i = 0; i < n; i++) {
        len += path[i].name.len + path[i].text.len + 2;
    }

    if (tlcf->cache.max_ttl) {
        len += NGX_TIME_T_LEN + 1;
    }

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(p, identity->data, identity->len);

    identity->data = p - identity->len;

    *p++ = '\0';
    *p++ = (u_char) tlcf->format;

    for (i = 0; i < n; i++) {
        p = ngx_sprintf(p, "%V%Z%V%Z", &path[i].name, &path[i].text);
    }

    if (tlcf->cache.max_ttl) {

        /* no path has an empty name */

        p = ngx_sprintf(p, "%Z%T", tlcf->cache.max_ttl);
    }

    identity->len = p - identity->data;

    return NGX_OK;
}


/*
 * Adds which values are in files, and in which, and which are tokens.  The
 * names stand in the request as well, where a variable may have the same text.
 */

static ngx_int_t
ngx_http_token_key_init_files(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    u_char     *p;
    ngx_str_t  *identity;

    if (!tlcf->deferred) {
        return NGX_OK;
    }

    identity = &tlcf->auth.identity;

    p = ngx_pnalloc(cf->pool, identity->len
                              + ngx_http_token_key_files(NULL, tlcf));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, identity->data, identity->len);

    identity->data = p;
    identity->len += ngx_http_token_key_files(p + identity->len, tlcf);

    return NGX_OK;
}


/* writes them to p; returns the length, also with p == NULL */

static size_t
ngx_http_token_key_files(u_char *p, ngx_http_token_loc_conf_t *tlcf)
{
    size_t                       len;
    ngx_uint_t                   i;
    ngx_http_token_param_t      *param;
    ngx_http_token_auth_conf_t  *auth;

    static ngx_str_t  none = ngx_string("");

    auth = &tlcf->auth;
    len = 0;

    if (auth->client_id) {
        len += ngx_http_token_key_file(&p, "id", &none, auth->client_id->file);
    }

    if (ngx_http_token_uses_secret(tlcf)) {
        len += ngx_http_token_key_file(&p, "secret", &none,
                                       auth->client_secret->file);
    }

    if (auth->assertion) {
        len += ngx_http_token_key_file(&p, "assertion", &none,
                                       auth->assertion->file);
    }

    if (auth->second_secret) {
        len += ngx_http_token_key_file(&p, "second", &none,
                                       auth->second_secret->file);
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        len += ngx_http_token_key_file(&p, "param", &param[i].name,
                                       param[i].value.file);

        if (param[i].value.is_token) {
            len += ngx_http_token_key_name(&p, "token", &param[i].name,
                                           &param[i].value.text);
        }
    }

    if (ngx_http_token_sends_bearer(tlcf)) {
        len += ngx_http_token_key_name(&p, "bearer", &tlcf->bearer.header,
                                       &tlcf->bearer.scheme);
    }

    param = tlcf->claims->elts;

    for (i = 0; auth->grant_alg && i < tlcf->claims->nelts; i++) {
        len += ngx_http_token_key_file(&p, "claim", &param[i].name,
                                       param[i].value.file);
    }

    return len;
}


static size_t
ngx_http_token_key_file(u_char **p, char *what, ngx_str_t *name,
    ngx_http_token_watch_t *file)
{
    return file ? ngx_http_token_key_name(p, what, name, &file->name) : 0;
}


static size_t
ngx_http_token_key_name(u_char **p, char *what, ngx_str_t *name,
    ngx_str_t *value)
{
    if (*p) {
        *p = ngx_sprintf(*p, "%Z%s%Z%V%Z%V", what, name, value);
    }

    return 3 + ngx_strlen(what) + name->len + value->len;
}


/* the digest of a request that has one already, or NULL */

static u_char *
ngx_http_token_key_made(ngx_http_token_request_t *request)
{
    return request->tlcf->digest ? request->tlcf->digest : request->digest;
}


/* in the order in which they are evaluated for the request */

static ngx_int_t
ngx_http_token_key_init_inputs(ngx_conf_t *cf, ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t                   i;
    ngx_http_token_param_t      *param, *claim;
    ngx_http_token_auth_conf_t  *auth;

    auth = &tlcf->auth;

    tlcf->inputs = ngx_array_create(cf->pool, 4,
                                    sizeof(ngx_http_token_input_t));

    if (tlcf->inputs == NULL
        || ngx_http_token_key_complex(tlcf, tlcf->endpoint) != NGX_OK
        || ngx_http_token_key_value(tlcf, auth->client_id) != NGX_OK
        || (ngx_http_token_uses_secret(tlcf)
            && ngx_http_token_key_value(tlcf, auth->client_secret) != NGX_OK)
        || ngx_http_token_key_value(tlcf, auth->second_secret) != NGX_OK
        || ngx_http_token_key_value(tlcf, auth->assertion) != NGX_OK
        || ngx_http_token_key_complex(tlcf, auth->audience) != NGX_OK)
    {
        return NGX_ERROR;
    }

    param = tlcf->params->elts;

    for (i = 0; i < tlcf->params->nelts; i++) {
        if (ngx_http_token_key_value(tlcf, &param[i].value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    claim = tlcf->claims->elts;

    for (i = 0; auth->grant_alg && i < tlcf->claims->nelts; i++) {
        if (ngx_http_token_key_value(tlcf, &claim[i].value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_http_token_key_complex(tlcf, tlcf->cache.key);
}


static ngx_int_t
ngx_http_token_key_value(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_value_t *value)
{
    if (value == NULL || value->complex == NULL) {
        return NGX_OK;
    }

    if (value->is_file) {
        tlcf->file_inputs = 1;
    }

    return ngx_http_token_key_input(tlcf, value, NULL);
}


static ngx_int_t
ngx_http_token_key_complex(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_complex_value_t *complex)
{
    if (complex == NULL || complex->lengths == NULL) {
        return NGX_OK;
    }

    return ngx_http_token_key_input(tlcf, NULL, complex);
}


static ngx_int_t
ngx_http_token_key_input(ngx_http_token_loc_conf_t *tlcf,
    ngx_http_token_value_t *value, ngx_http_complex_value_t *complex)
{
    ngx_http_token_input_t  *input;

    input = ngx_array_push(tlcf->inputs);
    if (input == NULL) {
        return NGX_ERROR;
    }

    input->value = value;
    input->complex = complex;

    return NGX_OK;
}


ngx_int_t
ngx_http_token_request_inputs(ngx_http_request_t *r,
    ngx_http_token_loc_conf_t *tlcf, ngx_str_t *text)
{
    u_char                  *p;
    size_t                   len;
    ngx_int_t                rc;
    ngx_str_t               *texts;
    ngx_uint_t               i, n, level;
    ngx_http_token_input_t  *input;

    input = tlcf->inputs->elts;
    n = tlcf->inputs->nelts;

    texts = ngx_palloc(r->pool, n * sizeof(ngx_str_t));
    if (texts == NULL) {
        return NGX_ERROR;
    }

    level = ngx_http_token_debug_off(r->connection->log);

    rc = NGX_OK;
    len = 0;

    for (i = 0; i < n && rc == NGX_OK; i++) {

        rc = input[i].value
             ? ngx_http_token_evaluate_value(r, tlcf, input[i].value, &texts[i])
             : ngx_http_complex_value(r, input[i].complex, &texts[i]);

        len += sizeof(size_t) + texts[i].len;
    }

    r->connection->log->log_level = level;

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->len = len;
    text->data = p;

    for (i = 0; i < n; i++) {

        /* the length keeps what ends one text from beginning the next */

        p = ngx_cpymem(p, &texts[i].len, sizeof(size_t));
        p = ngx_cpymem(p, texts[i].data, texts[i].len);
    }

    return NGX_OK;
}


u_char *
ngx_http_token_request_digest(ngx_http_request_t *r,
    ngx_http_token_request_t *request)
{
    u_char                     *digest;
    ngx_str_t                   extra;
    ngx_http_token_loc_conf_t  *tlcf;

    tlcf = request->tlcf;

    digest = ngx_http_token_key_made(request);

    if (digest) {
        return digest;
    }

    ngx_str_null(&extra);

    if (tlcf->cache.key
        && ngx_http_token_secret_value(r, tlcf->cache.key, &extra) != NGX_OK)
    {
        return NULL;
    }

    digest = ngx_pnalloc(r->pool, NGX_HTTP_TOKEN_DIGEST_LEN);
    if (digest == NULL) {
        return NULL;
    }

    return (ngx_http_token_key_digest(digest, request, &extra) == NGX_OK)
           ? digest : NULL;
}


/*
 * The body has the grant type and every parameter; the Authorization header or
 * the body has the client's id.  An assertion differs each time, so it is
 * represented by what it is made of.
 */

static ngx_int_t
ngx_http_token_key_digest(u_char *digest, ngx_http_token_request_t *request,
    ngx_str_t *extra)
{
    ngx_int_t     rc;
    ngx_str_t    *parts[9];
    ngx_uint_t    i, n;
    EVP_MD_CTX   *md;

    parts[0] = &request->endpoint;
    parts[1] = &request->authorization;
    parts[2] = &request->body;
    parts[3] = &request->secret;
    parts[4] = &request->audience;
    parts[5] = &request->tlcf->auth.identity;
    parts[6] = extra;
    parts[7] = &request->claims;

    /* whether there are claims is a part of the identity already */

    n = request->tlcf->auth.grant_alg ? 8 : 7;

    if (request->tlcf->auth.second_secret) {
        parts[n++] = &request->second_secret;
    }

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1
        || EVP_DigestUpdate(md, &request->tlcf->auth.method,
                            sizeof(ngx_uint_t))
           != 1)
    {
        goto done;
    }

    for (i = 0; i < n; i++) {

        /* the length keeps what ends one part from beginning the next */

        if (EVP_DigestUpdate(md, &parts[i]->len, sizeof(size_t)) != 1
            || EVP_DigestUpdate(md, parts[i]->data, parts[i]->len) != 1)
        {
            goto done;
        }
    }

    if (ngx_http_token_key_tokens(md, request) == NGX_OK
        && EVP_DigestFinal_ex(md, digest, NULL) == 1)
    {
        rc = NGX_OK;
    }

done:

    EVP_MD_CTX_free(md);

    return rc;
}


/*
 * A token of another location is represented by its request's identity, and not
 * by its bytes, which are others after each renewal.
 */

static ngx_int_t
ngx_http_token_key_tokens(EVP_MD_CTX *md, ngx_http_token_request_t *request)
{
    ngx_uint_t                 i;
    ngx_http_token_request_t  *token;

    if (!request->tlcf->chained) {
        return NGX_OK;
    }

    for (i = 0; i <= request->nparams; i++) {
        token = ngx_http_token_pair(request, i)->token;

        if (token
            && EVP_DigestUpdate(md, ngx_http_token_key_made(token),
                                NGX_HTTP_TOKEN_DIGEST_LEN)
               != 1)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
