
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The claims of the assertion of a JWT bearer grant (RFC 7523 2.1 and 3), but
 * for those that differ each time it is signed.
 */


#include "ngx_http_token_endpoint.h"


static ngx_uint_t ngx_http_token_has_claim(ngx_http_token_loc_conf_t *tlcf,
    char *name);
static ngx_int_t ngx_http_token_check_claim(ngx_http_request_t *r,
    ngx_http_token_pair_t *claim);


/* the client's id twice, and the endpoint, unless a directive says another */

static char  *ngx_http_token_default_claims[] = {
    "iss", "sub", "aud", NULL
};


ngx_uint_t
ngx_http_token_claims_need_id(ngx_http_token_loc_conf_t *tlcf)
{
    return (!ngx_http_token_has_claim(tlcf, "iss")
            || !ngx_http_token_has_claim(tlcf, "sub"));
}


ngx_uint_t
ngx_http_token_claims_constant(ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *claim;

    claim = tlcf->claims->elts;

    for (i = 0; i < tlcf->claims->nelts; i++) {
        if (claim[i].value.complex) {
            return 0;
        }
    }

    return 1;
}


ngx_uint_t
ngx_http_token_claims_have_file(ngx_http_token_loc_conf_t *tlcf)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *claim;

    if (tlcf->auth.grant_alg == NULL) {
        return 0;
    }

    claim = tlcf->claims->elts;

    for (i = 0; i < tlcf->claims->nelts; i++) {
        if (claim[i].value.file) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_token_has_claim(ngx_http_token_loc_conf_t *tlcf, char *name)
{
    ngx_uint_t               i;
    ngx_http_token_param_t  *claim;

    claim = tlcf->claims->elts;

    for (i = 0; i < tlcf->claims->nelts; i++) {
        if (ngx_http_token_equals(&claim[i].name, name)) {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_token_evaluate_claims(ngx_http_request_t *r, ngx_pool_t *pool,
    ngx_http_token_request_t *request)
{
    char                       **name;
    ngx_uint_t                   i, n;
    ngx_http_token_pair_t       *kv;
    ngx_http_token_param_t      *claim;
    ngx_http_token_loc_conf_t   *tlcf;

    tlcf = request->tlcf;

    kv = ngx_pcalloc(pool, (tlcf->claims->nelts + 3)
                           * sizeof(ngx_http_token_pair_t));
    if (kv == NULL) {
        return NGX_ERROR;
    }

    n = 0;

    for (name = ngx_http_token_default_claims; *name; name++) {

        if (ngx_http_token_has_claim(tlcf, *name)) {
            continue;
        }

        kv[n].name.data = (u_char *) *name;
        kv[n].name.len = ngx_strlen(*name);

        if (ngx_http_token_equals(&kv[n].name, "aud")) {
            kv[n].value = tlcf->auth.audience ? request->audience
                                              : request->endpoint;

        } else if (tlcf->auth.client_id) {
            kv[n].value = request->client_id;
            kv[n].file = tlcf->auth.client_id->file;
        }

        n++;
    }

    claim = tlcf->claims->elts;

    for (i = 0; i < tlcf->claims->nelts; i++) {

        kv[n].name = claim[i].name;
        kv[n].file = claim[i].value.file;

        if (ngx_http_token_evaluate_value(r, tlcf, &claim[i].value,
                                          &kv[n].value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (claim[i].value.complex
            && ngx_http_token_check_claim(r, &kv[n]) != NGX_OK)
        {
            return NGX_ERROR;
        }

        n++;
    }

    request->claim_values = kv;
    request->nclaim_values = n;

    return ngx_http_token_write_claims(pool, kv, n, &request->claims);
}


static ngx_int_t
ngx_http_token_check_claim(ngx_http_request_t *r, ngx_http_token_pair_t *claim)
{
    char  **name, *wrong;

    wrong = ngx_http_token_is_utf8(&claim->value) ? NULL : "is not UTF-8";

    /* without a subject an assertion may be for more than with one */

    for (name = ngx_http_token_default_claims; *name; name++) {
        if (claim->value.len == 0
            && ngx_http_token_equals(&claim->name, *name))
        {
            wrong = "is empty";
        }
    }

    if (wrong == NULL) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "the value of claim \"%V\" of \"token_proxy_grant_claim\" "
                  "%s", &claim->name, wrong);

    return NGX_ERROR;
}


ngx_int_t
ngx_http_token_write_claims(ngx_pool_t *pool, ngx_http_token_pair_t *claims,
    ngx_uint_t nclaims, ngx_str_t *text)
{
    u_char      *p;
    size_t       len;
    ngx_uint_t   i;
    ngx_str_t   *name, *value;

    len = 1;

    for (i = 0; i < nclaims; i++) {
        len += ngx_http_token_json_pair(NULL, &claims[i].name,
                                        &claims[i].value)
               + 1;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;

    for (i = 0; i < nclaims; i++) {
        name = &claims[i].name;
        value = &claims[i].value;

        /* as with nginx's headers, an empty value leaves it out */

        if (value->len == 0) {
            continue;
        }

        p = (u_char *) ngx_http_token_json_pair(p, name, value);
        *p++ = ',';
    }

    text->len = p - text->data;

    return NGX_OK;
}
